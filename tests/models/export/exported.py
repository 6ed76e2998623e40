"""Small models that tests export, and the calls that tests make of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
from keras import layers as L

from thinned.models.card import OutputSpec
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.pooling import Pooling
from thinned.models.export.proving import BareCall
from thinned.models.export.saved_model import write_saved_model
from thinned.models.export.signatures import PASSES, PREDICT, SAMPLE, ExportedFunctions
from thinned.models.uncertainty.members import rule_of

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


def members() -> Any:
    x = keras.Input((3,))
    return keras.Model(x, [L.Dense(2, "softmax")(L.Dropout(rate)(L.Dense(8, "relu")(x))) for rate in (0.5, 0.0)])


def certain() -> Any:
    return keras.Sequential([keras.Input((2,)), L.Dense(1)])


@dataclass(frozen=True)
class Case:
    """A model, how its outputs are read, and how many rows x passes are computed at once: all where that is None."""

    build: Callable[[], Any]
    scales: Mapping[int, str] = field(default_factory=dict)
    row_passes: int | None = None
    members: int = 1


CASES = {
    "perceptron": Case(perceptron, row_passes=50),  # part of a block for three rows
    "linear": Case(linear),
    "convolutional": Case(convolutional, {0: "probabilities"}, row_passes=100),  # one block
    "recurrent": Case(recurrent),
    "attention": Case(attention, {0: "probabilities"}, row_passes=1),  # one pass
    "several": Case(several, {0: "logits"}, row_passes=200),  # two blocks
    "members": Case(members, {0: "probabilities"}, members=2),
}


@dataclass
class Exported:
    """A file, the functions in it, rows, and the variables of the Keras model as they were before."""

    folder: Path
    functions: ExportedFunctions
    rows: dict[str, Any]
    before: list[Any]

    @property
    def model(self) -> StochasticModel:
        return self.functions.model

    def call(self, signature: str, *numbers: int, rows: slice = slice(None)) -> BareCall:
        inputs = {self.functions.keys[name]: x[rows] for name, x in self.rows.items()}
        return BareCall(self.folder, signature, inputs, dict(zip(("n_samples", "seed"), numbers, strict=False)))

    def calls(self) -> dict[str, BareCall]:
        """By name, what the laws compare."""
        return {
            "predict": self.call(PREDICT),
            "few": self.call(SAMPLE, 10, SEED),
            "again": self.call(SAMPLE, 10, SEED),
            "many": self.call(SAMPLE, 100, SEED),
            "other": self.call(SAMPLE, 10, SEED + 1),
            "alone": self.call(SAMPLE, 10, SEED, rows=slice(1, 2)),
            "moments": self.call(PASSES, 100, SEED),
            "predict later": self.call(PREDICT),
        }


def export(case: Case, folder: Path) -> Exported:
    keras.utils.set_random_seed(3)
    model = case.build()
    own = enable_mc_dropout(model).outputs[:: case.members]
    outputs = [
        OutputSpec(
            name=output.name,
            shape=output.shape,
            dtype=output.dtype,
            task="classification" if i in case.scales else "regression",
            scale=case.scales.get(i, "values"),  # type: ignore[arg-type]
            members=case.members,
        )
        for i, output in enumerate(own)
    ]
    stochastic = enable_mc_dropout(
        model,
        classes={spec.name: spec.scale for spec in outputs if spec.task == "classification"},  # type: ignore[misc]
        pooling=Pooling(case.members, {spec.name: rule_of(spec) for spec in outputs}) if case.members > 1 else None,
    )
    if case.row_passes is not None:
        stochastic.__dict__["row_passes"] = case.row_passes
    functions = ExportedFunctions(stochastic, outputs)
    before = [variable.numpy() for variable in model.variables]
    write_saved_model(functions.traced(), model, folder)
    return Exported(folder, functions, stochastic.examples.rows(ROWS, seed=2), before)
