"""Serve a Keras model, and ask it for an answer or for an answer with its uncertainty.

What is named in `__all__` is the public API; everything else may change between versions. The names are imported when
they are first used (PEP 562), so that `import thinned` takes milliseconds and loads neither TensorFlow nor BentoML.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinned._version import __version__

if TYPE_CHECKING:
    from thinned.models.dropout import Draw, StochasticModel, enable_mc_dropout, register_noise
    from thinned.models.errors import ThinnedError
    from thinned.service.notebook.answer import Answer
    from thinned.service.notebook.loaded_model import LoadedModel, load

__all__ = [
    "Answer",
    "Draw",
    "LoadedModel",
    "StochasticModel",
    "ThinnedError",
    "__version__",
    "enable_mc_dropout",
    "load",
    "register_noise",
]

HOME = Path(__file__).resolve().parent.parent
"""The folder that holds this package: what a process that is started for it needs on its path."""

_HOMES = {
    "Answer": "thinned.service.notebook.answer",
    "Draw": "thinned.models.dropout",
    "LoadedModel": "thinned.service.notebook.loaded_model",
    "StochasticModel": "thinned.models.dropout",
    "ThinnedError": "thinned.models.errors",
    "enable_mc_dropout": "thinned.models.dropout",
    "load": "thinned.service.notebook.loaded_model",
    "register_noise": "thinned.models.dropout",
}

# Read when Keras, TensorFlow and BentoML are first imported: the backend that the engine is written for, no banner, and
# no reports to BentoML's makers.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

# In a checkout `thinned/models` and its like are links to the top-level folders. `bentoml build` copies no links
# (BentoML 1.4.40), so in a bento the folders stand beside this package: `thinned.models` is found there.
if not Path(__file__).with_name("models").is_dir():
    __path__.append(str(HOME))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'thinned' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
