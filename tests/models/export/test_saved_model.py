"""The laws of passes on exported files, in a process that imports TensorFlow alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L

from thinned.models.card import OutputSpec
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.pooling import Pooling
from thinned.models.errors import ExportError
from thinned.models.export.proving import BareAnswers, BareCall, call_bare
from thinned.models.export.saved_model import write_saved_model
from thinned.models.export.signatures import PASSES, PREDICT, SAMPLE, ExportedFunctions
from thinned.models.storage.ensemble import joined_members

ROWS, SEED = 3, 5


def perceptron() -> Any:
    return keras.Sequential([keras.Input((3,)), L.Dense(8, "relu"), L.Dropout(0.5), L.Dense(2)])


def linear() -> Any:
    return keras.Sequential([keras.Input((4,)), L.Dropout(0.25), L.Dense(2)])


def convolutional() -> Any:
    x = keras.Input((8, 8, 1))
    h = L.SpatialDropout2D(0.25)(L.BatchNormalization()(L.Conv2D(4, 3)(x)))
    return keras.Model(x, L.Dense(3, "softmax")(L.Flatten()(h)))


def recurrent() -> Any:
    x = keras.Input((5, 3))
    return keras.Model(x, L.Dense(2)(L.LSTM(4, dropout=0.3, recurrent_dropout=0.2)(x)))


def attention() -> Any:
    x = keras.Input((None, 4))
    h = L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 2, dropout=0.3)(x, x))
    return keras.Model(x, L.Dense(1, "sigmoid")(h))


def several() -> Any:
    a, b = keras.Input((3,), name="first of two"), keras.Input((2,), name="2nd", dtype="int32")
    h = L.Dropout(0.4)(L.Dense(6, "relu")(L.Concatenate()([a, L.Flatten()(L.Embedding(5, 2)(b))])))
    return keras.Model([a, b], [L.Dense(3, name="kind")(h), L.Dense(2, name="size")(h)])


@dataclass
class Exported:
    """A file, the model it was made of, and its rows."""

    folder: Path
    functions: ExportedFunctions
    rows: dict[str, Any]
    before: list[Any]

    @property
    def model(self) -> StochasticModel:
        return self.functions.model

    def calls(self) -> dict[str, BareCall]:
        inputs = {self.functions.keys[name]: x for name, x in self.rows.items()}
        one = {key: x[1:2] for key, x in inputs.items()}

        def call(signature: str, given: Any, *numbers: int) -> BareCall:
            return BareCall(self.folder, signature, given, dict(zip(("n_samples", "seed"), numbers, strict=False)))

        return {
            "predict": call(PREDICT, inputs),
            "few": call(SAMPLE, inputs, 10, SEED),
            "again": call(SAMPLE, inputs, 10, SEED),
            "many": call(SAMPLE, inputs, 100, SEED),
            "other": call(SAMPLE, inputs, 10, SEED + 1),
            "alone": call(SAMPLE, one, 10, SEED),
            "moments": call(PASSES, inputs, 100, SEED),
            "predict later": call(PREDICT, inputs),
        }


# How many rows x passes are computed at once: some of a block, a whole one, all.
MODELS: dict[str, tuple[Callable[[], Any], int | None]] = {
    "perceptron": (perceptron, 50),
    "convolutional": (convolutional, 100),
    "recurrent": (recurrent, None),
    "attention": (attention, 1),
    "several": (several, 200),
}
SCALES = {"convolutional": "probabilities", "attention": "probabilities", "kind": "logits"}


def export(build: Callable[[], Any], folder: Path, row_passes: int | None = None, name: str = "") -> Exported:
    keras.utils.set_random_seed(3)
    model = build()
    classes = {
        out: SCALES.get(name) or SCALES.get(out) for out in getattr(model, "output_names", []) if name in SCALES
    }
    if name == "several":
        classes = {"kind": "logits"}
    stochastic = enable_mc_dropout(model, classes=classes)
    if row_passes is not None:
        stochastic.__dict__["row_passes"] = row_passes
    outputs = [
        OutputSpec(
            name=out.name,
            shape=out.shape,
            dtype=out.dtype,
            task="classification" if classes.get(out.name) else "regression",
            scale=classes.get(out.name) or "values",
        )
        for out in stochastic.outputs
    ]
    functions = ExportedFunctions(stochastic, outputs)
    before = [variable.numpy() for variable in model.variables]
    write_saved_model(functions.traced(), model, folder)
    return Exported(folder, functions, stochastic.examples.rows(ROWS, seed=2), before)
