"""Networks over rows of numbers and categories: regression, recommendation, tables with missing words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

L, ops = keras.layers, keras.ops
COLOURS = ["red", "green", "blue"]


@keras.saving.register_keras_serializable("tables")
class DropPath(L.Layer):
    """Drops the branch of a whole row."""

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seeds = rate, keras.random.SeedGenerator(5)

    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        kept = keras.random.uniform((ops.shape(x)[0], 1), seed=self.seeds) >= self.rate
        return x * ops.cast(kept, x.dtype) / (1 - self.rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable("tables")
class FactorisationMachine(L.Layer):
    """The sum of products of all pairs of embedded fields."""

    def call(self, x: Any) -> Any:
        return 0.5 * ops.sum(ops.sum(x, axis=1) ** 2 - ops.sum(x**2, axis=1), axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("tables")
class CrossLayer(L.Layer):
    """Of deep and cross networks."""

    def build(self, shapes: Any) -> None:
        self.dense = L.Dense(shapes[0][-1])
        self.dense.build(shapes[0])

    def call(self, inputs: Any) -> Any:
        first, x = inputs
        return first * self.dense(x) + x


def perceptron() -> Any:
    return keras.Sequential(
        [keras.Input((8,)), L.Dense(32, "relu"), L.Dropout(0.5), L.Dense(32, "relu"), L.Dropout(0.5), L.Dense(1)]
    )


def binary() -> Any:
    x = inputs = keras.Input((6,))
    for _ in range(2):
        x = L.Dropout(0.3)(L.Activation("relu")(L.BatchNormalization()(L.Dense(12, use_bias=False)(x))))
    return keras.Model(inputs, L.Dense(1, "sigmoid")(x))


def self_normalising() -> Any:
    x = inputs = keras.Input((6,))
    for _ in range(3):
        x = L.AlphaDropout(0.1)(L.Dense(12, "selu", kernel_initializer="lecun_normal")(x))
    return keras.Model(inputs, L.Dense(3, "softmax")(x))


def residual_with_drop_path() -> Any:
    x = inputs = keras.Input((8,))
    for i in range(4):
        x = L.Add()([x, DropPath(0.1 * (i + 1))(L.Dense(8)(L.Dense(16, "swish")(L.LayerNormalization()(x))))])
    return keras.Model(inputs, L.Dense(1)(x))


def mixture_density() -> Any:
    inputs = keras.Input((1,))
    x = L.Dropout(0.2)(L.Dense(16, "tanh")(inputs))
    outputs = [L.Dense(3, "softmax", name="share")(x), L.Dense(3, name="mean")(x), L.Dense(3, "softplus", name="sd")(x)]
    return keras.Model(inputs, outputs)


def quantiles() -> Any:
    """Three quantiles that never cross."""
    inputs = keras.Input((5,))
    x = L.Dropout(0.3)(L.Dense(16, "relu")(inputs))
    middle, below, above = L.Dense(1)(x), L.Dense(1, "softplus")(x), L.Dense(1, "softplus")(x)
    return keras.Model(inputs, L.Concatenate()([middle - below, middle, middle + above]))


def mean_and_log_variance() -> Any:
    inputs = keras.Input((5,))
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.2)(L.Dense(16, "relu")(inputs))))


def several_tasks() -> Any:
    inputs = keras.Input((7,))
    shared = L.Dropout(0.3)(L.Dense(16, "relu")(inputs))
    price = L.Dense(1, name="price")(L.Dropout(0.2)(L.Dense(8, "relu")(shared)))
    kind = L.Dense(3, "softmax", name="kind")(shared)
    return keras.Model(inputs, [price, kind, L.Dense(4, "sigmoid", name="tags")(L.Dropout(0.1)(shared))])


def mixture_of_experts() -> Any:
    inputs = keras.Input((6,))
    gate = L.Dense(3, "softmax")(inputs)
    experts = [L.Dropout(0.3)(L.Dense(8, "relu")(inputs)) for _ in range(3)]
    x = ops.stack(experts, axis=1)
    return keras.Model(inputs, L.Dense(1)(ops.sum(x * ops.expand_dims(gate, -1), axis=1)))


def highway() -> Any:
    x = inputs = keras.Input((8,))
    for _ in range(2):
        gate = L.Dense(8, "sigmoid", bias_initializer=keras.initializers.Constant(-1.0))(x)
        x = gate * L.Dropout(0.3)(L.Dense(8, "relu")(x)) + (1 - gate) * x
    return keras.Model(inputs, L.Dense(2)(x))


def neural_collaborative_filtering() -> Any:
    user, item = keras.Input((1,), dtype="int32", name="user"), keras.Input((1,), dtype="int32", name="item")
    product = L.Multiply()([L.Flatten()(L.Embedding(20, 4)(user)), L.Flatten()(L.Embedding(30, 4)(item))])
    deep = L.Concatenate()([L.Flatten()(L.Embedding(20, 6)(user)), L.Flatten()(L.Embedding(30, 6)(item))])
    deep = L.Dropout(0.3)(L.Dense(8, "relu")(L.Dropout(0.2)(L.Dense(16, "relu")(deep))))
    return keras.Model([user, item], L.Dense(1, "sigmoid")(L.Concatenate()([product, deep])))


def matrix_factorisation() -> Any:
    user, item = keras.Input((1,), dtype="int32", name="user"), keras.Input((1,), dtype="int32", name="item")
    x = L.Dot(axes=2)([L.Dropout(0.2)(L.Embedding(9, 4)(user)), L.Dropout(0.2)(L.Embedding(7, 4)(item))])
    return keras.Model([user, item], L.Flatten()(x))


def two_towers() -> Any:
    def tower(name: str, size: int) -> Any:
        inputs = keras.Input((1,), dtype="string", name=name)
        x = L.Flatten()(
            L.Embedding(size + 1, 6)(L.StringLookup(vocabulary=[f"{name}{i}" for i in range(size)])(inputs))
        )
        return inputs, L.UnitNormalization()(L.Dense(4)(L.Dropout(0.3)(x)))

    (user, left), (item, right) = tower("user", 5), tower("item", 7)
    return keras.Model([user, item], L.Dot(axes=1)([left, right]))


def wide_and_deep() -> Any:
    numbers = keras.Input((5,), name="numbers")
    colour = keras.Input((1,), dtype="string", name="colour")
    hot = L.StringLookup(vocabulary=COLOURS, output_mode="one_hot")(colour)
    deep = L.Dropout(0.3)(L.Dense(8, "relu")(L.Dropout(0.3)(L.Dense(16, "relu")(numbers))))
    return keras.Model({"numbers": numbers, "colour": colour}, L.Dense(1)(L.Concatenate()([hot, deep])))


def deep_fm() -> Any:
    fields = keras.Input((4,), dtype="int32")
    vectors = L.Embedding(40, 5)(fields)
    first = L.Flatten()(L.Embedding(40, 1)(fields))
    deep = L.Dropout(0.4)(L.Dense(16, "relu")(L.Flatten()(vectors)))
    parts = [L.Dense(1)(first), FactorisationMachine()(vectors), L.Dense(1)(deep)]
    return keras.Model(fields, L.Activation("sigmoid")(L.Add()(parts)))


def deep_and_cross() -> Any:
    x = inputs = keras.Input((6,))
    for _ in range(2):
        x = CrossLayer()([inputs, L.Dropout(0.1)(x)])
    return keras.Model(inputs, L.Dense(1)(L.Concatenate()([x, L.Dropout(0.3)(L.Dense(8, "relu")(inputs))])))


def normalised_numbers() -> Any:
    draw = np.random.default_rng(1)
    normalise = L.Normalization()
    normalise.adapt(draw.normal(5.0, 3.0, (64, 4)).astype("float32"))
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(12, "relu")(normalise(inputs)))))


def structured() -> Any:
    """Every kind of column: scaled, cut into ranges, looked up, hashed, crossed."""
    age, income = keras.Input((1,), name="age"), keras.Input((1,), name="income")
    colour, grade = keras.Input((1,), dtype="string", name="colour"), keras.Input((1,), dtype="int32", name="grade")
    ranges = L.CategoryEncoding(4, output_mode="one_hot")(L.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(age))
    known = L.StringLookup(vocabulary=COLOURS, output_mode="one_hot")(colour)
    grades = L.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot")(grade)
    hashed = L.CategoryEncoding(6, output_mode="one_hot")(L.Hashing(6)(colour))
    scaled = L.Normalization(mean=[1.0], variance=[4.0])(income)
    x = L.Concatenate()([ranges, known, grades, hashed, scaled])
    inputs = {"age": age, "income": income, "colour": colour, "grade": grade}
    return keras.Model(inputs, L.Dense(2, "softmax")(L.Dropout(0.4)(L.Dense(16, "relu")(x))))


def crossed() -> Any:
    left, right = keras.Input((1,), dtype="string", name="left"), keras.Input((1,), dtype="string", name="right")
    x = L.HashedCrossing(8, output_mode="one_hot")((left, right))
    return keras.Model([left, right], L.Dense(1)(L.Dropout(0.3)(L.Dense(6, "relu")(x))))


def tabular_transformer() -> Any:
    colour, size = keras.Input((1,), dtype="string", name="colour"), keras.Input((1,), dtype="string", name="size")
    numbers = keras.Input((3,), name="numbers")
    columns = [
        L.Embedding(5, 8)(L.StringLookup(vocabulary=COLOURS)(colour)),
        L.Embedding(4, 8)(L.StringLookup(vocabulary=["S", "L"])(size)),
        L.Reshape((1, 8))(L.Dense(8)(L.LayerNormalization()(numbers))),
    ]
    x = L.Concatenate(axis=1)(columns)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4, dropout=0.1)(x, x))
    x = L.LayerNormalization()(x + L.Dropout(0.1)(L.Dense(8)(L.Dense(16, "gelu")(x))))
    return keras.Model([colour, size, numbers], L.Dense(1, "sigmoid")(L.Flatten()(x)))


def survival() -> Any:
    """Hazards of ten periods, multiplied up."""
    inputs = keras.Input((5,))
    hazard = L.Dense(10, "sigmoid")(L.Dropout(0.3)(L.Dense(16, "relu")(inputs)))
    return keras.Model(inputs, ops.cumprod(1.0 - hazard, axis=1))


TABLES: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        perceptron,
        binary,
        self_normalising,
        residual_with_drop_path,
        mixture_density,
        quantiles,
        mean_and_log_variance,
        several_tasks,
        mixture_of_experts,
        highway,
        neural_collaborative_filtering,
        matrix_factorisation,
        two_towers,
        wide_and_deep,
        deep_fm,
        deep_and_cross,
        normalised_numbers,
        structured,
        crossed,
        tabular_transformer,
        survival,
    )
}
