"""Functions that Keras 3 computes otherwise than Keras 1 and 2 did; models made from their files refer to these."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["hard_sigmoid_2"]


@keras.saving.register_keras_serializable("thinned")
def hard_sigmoid_2(x: Any) -> Any:
    """The hard sigmoid of Keras 1 and 2: 0.2 x + 0.5, held between 0 and 1.

    Keras 3 computes x / 6 + 0.5 under the name `hard_sigmoid`. Gates of recurrent layers used the old one by default.
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)
