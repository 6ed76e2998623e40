"""Everything about a model: its noise, its uncertainty, its card, its place in the store. Knows nothing of HTTP.

Importing this package settles what must be settled before Keras and BentoML are first imported: the backend that the
engine is written for, TensorFlow's log level, and that BentoML reports nothing to its makers.
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
