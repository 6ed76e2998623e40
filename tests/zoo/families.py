"""Small models of every family that must serve. Each is built anew, with weights from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from thinned.models.dropout import Draw, register_noise

__all__ = ["FAMILIES", "SITES", "build"]

L = keras.layers


def sequential() -> Any:
    return keras.Sequential(
        [keras.Input((5,)), L.Dense(16, "relu"), L.Dropout(0.3), L.Dense(8), L.Dropout(0.5), L.Dense(2)]
    )


def sequential_without_input() -> Any:
    """Built by its first call, so that Keras stores that call's batch size as part of its shape."""
    model = keras.Sequential([L.Dense(16, "relu"), L.Dropout(0.3), L.Dense(2)])
    model(keras.ops.ones((2, 5)))
    return model


def convolutional() -> Any:
    x = inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(8, 3, activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.SpatialDropout2D(0.25)(x)
    x = L.Conv2D(8, 3, activation="relu")(x)
    x = L.Dropout(0.25)(L.Flatten()(x))
    return keras.Model(inputs, L.Dense(4, "softmax")(x))


def skip() -> Any:
    """Skip connections across the first site: the frontier holds several tensors."""
    inputs = keras.Input((6,))
    a = L.Dense(8, "relu", name="a")(inputs)
    b = L.Dense(8, "relu", name="b")(a)
    x = L.Dropout(0.4)(b)
    x = L.Add()([a, x])
    x = L.Concatenate()([x, inputs])
    return keras.Model(inputs, L.Dense(3)(x))


def nested() -> Any:
    inner_in = keras.Input((8,))
    x = L.Dense(8, "relu", name="inner_first")(inner_in)
    x = L.Dropout(0.5, name="inner_site")(x)
    inner = keras.Model(inner_in, L.Dense(8, name="inner_last")(x), name="inner")
    inputs = keras.Input((4,))
    x = L.Dense(8, name="stem")(inputs)
    x = inner(x)
    x = inner(L.BatchNormalization()(x))  # used twice: two draws
    return keras.Model(inputs, L.Dense(2)(keras.Sequential([L.Dense(4), L.Dropout(0.2)], name="head")(x)))


def two_inputs() -> Any:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    x = L.Concatenate()([L.Dense(6, "relu")(left), L.Dropout(0.3)(right)])
    return keras.Model([left, right], L.Dense(2)(L.Dropout(0.2)(x)))


def named_inputs_and_outputs() -> Any:
    tensors = {"zeta": keras.Input((4,), name="zeta"), "alpha": keras.Input((3,), name="alpha")}
    x = L.Concatenate()([tensors["zeta"], tensors["alpha"]])
    x = L.Dropout(0.3)(L.Dense(12, "relu")(x))
    outputs = {"size": L.Dense(1, name="size")(x), "kind": L.Dense(3, "softmax", name="kind")(x)}
    return keras.Model(tensors, outputs)


def certain_output() -> Any:
    """One output lies before every site."""
    inputs = keras.Input((4,))
    x = L.Dense(6, "relu")(inputs)
    return keras.Model(inputs, [L.Dense(1, name="sure")(x), L.Dense(1, name="unsure")(L.Dropout(0.5)(x))])


@keras.saving.register_keras_serializable("zoo")
class Subclassed(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.norm, self.drop, self.last = (
            L.Dense(8, "relu"),
            L.BatchNormalization(),
            L.Dropout(0.4),
            L.Dense(2),
        )

    def call(self, x: Any, training: bool | None = None) -> Any:
        h = self.drop(self.first(x), training=training)
        return self.last(self.drop(self.norm(h, training=training), training=training))


def subclassed() -> Any:
    model = Subclassed()
    model(keras.ops.ones((2, 5)))
    return model


def images_of_any_size() -> Any:
    inputs = keras.Input((None, None, 2))
    x = L.Dropout(0.3)(L.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


def volumes() -> Any:
    inputs = keras.Input((4, 4, 4, 2))
    x = L.SpatialDropout3D(0.3)(L.Conv3D(8, 2)(inputs))
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))


def embedding() -> Any:
    inputs = keras.Input((7,), dtype="int32")
    x = L.Embedding(20, 8)(inputs)
    x = L.SpatialDropout1D(0.3)(x)
    return keras.Model(inputs, L.Dense(2, "softmax")(L.GlobalAveragePooling1D()(x)))


def masked_embedding() -> Any:
    """Padding masks must cross from the prefix to the suffix."""
    inputs = keras.Input((None,), dtype="int32")
    x = L.Embedding(20, 8, mask_zero=True)(inputs)
    x = L.Dropout(0.3)(x)
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(x)))


def categories() -> Any:
    """A category by its name beside a number."""
    colour, age = keras.Input((1,), dtype="string", name="colour"), keras.Input((1,), name="age")
    known = L.StringLookup(vocabulary=["red", "green", "blue"], mask_token="[MASK]")(colour)
    x = L.Concatenate()([L.Flatten()(L.Embedding(5, 4)(known)), age])
    return keras.Model([colour, age], L.Dense(3, "softmax")(L.Dropout(0.3)(L.Dense(8, "relu")(x))))


def text() -> Any:
    """Sentences, split into words; the mask of their padding crosses from the prefix to the suffix."""
    inputs = keras.Input((1,), dtype="string")
    x = L.TextVectorization(output_sequence_length=6, vocabulary=["good", "bad", "film"])(inputs)
    x = L.Dropout(0.4)(L.Embedding(5, 4, mask_zero=True)(x))
    return keras.Model(inputs, L.Dense(2, "softmax")(L.GlobalAveragePooling1D()(x)))


def transformer() -> Any:
    x = inputs = keras.Input((6, 8))
    for _ in range(2):
        h = L.MultiHeadAttention(2, 4, dropout=0.2)(x, x)
        x = L.LayerNormalization()(L.Add()([x, L.Dropout(0.1)(h)]))
        h = L.Dense(8)(L.Dense(16, "gelu")(x))
        x = L.LayerNormalization()(L.Add()([x, L.Dropout(0.1)(h)]))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def attention() -> Any:
    query, value = keras.Input((4, 6)), keras.Input((5, 6))
    x = L.Attention(dropout=0.4)([query, value])
    x = L.AdditiveAttention(dropout=0.2)([x, value])
    x = L.GroupQueryAttention(4, 4, 2, dropout=0.2)(x, value)
    return keras.Model([query, value], L.Dense(1)(L.Flatten()(x)))


def lstm() -> Any:
    return keras.Sequential([keras.Input((5, 3)), L.LSTM(6, dropout=0.3, recurrent_dropout=0.4), L.Dense(2)])


def recurrent() -> Any:
    x = inputs = keras.Input((None, 3))
    x = L.SimpleRNN(4, dropout=0.3, recurrent_dropout=0.2, return_sequences=True)(x)
    x = L.Bidirectional(L.GRU(4, dropout=0.2, recurrent_dropout=0.3, return_sequences=True))(x)
    x = L.LSTM(4, dropout=0.3, return_sequences=True)(x)
    x = L.RNN([L.GRUCell(4, dropout=0.2), L.LSTMCell(3, recurrent_dropout=0.2)])(x)
    return keras.Model(inputs, L.Dense(1)(x))


def conv_lstm() -> Any:
    inputs = keras.Input((3, 4, 4, 2))
    x = L.ConvLSTM2D(3, 2, dropout=0.3, recurrent_dropout=0.3)(inputs)
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))


def time_distributed() -> Any:
    inputs = keras.Input((4, 5))
    block = keras.Sequential([keras.Input((5,)), L.Dense(6, "relu"), L.Dropout(0.4), L.Dense(3)])
    x = L.TimeDistributed(block)(inputs)
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(L.TimeDistributed(L.Dropout(0.2))(x))))


def time_distributed_any_length() -> Any:
    inputs = keras.Input((None, 5))
    x = L.TimeDistributed(L.Dropout(0.5))(inputs)
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def tagger() -> Any:
    """A label for each word of a sentence of any length; words that are 0 are masked."""
    inputs = keras.Input((None,), dtype="int32")
    x = L.Embedding(12, 6, mask_zero=True)(inputs)
    x = L.LSTM(5, return_sequences=True, dropout=0.3)(x)
    inner = keras.Sequential([keras.Input((5,)), L.Dense(6, "relu"), L.Dropout(0.2), L.Dense(3, "softmax")])
    return keras.Model(inputs, L.TimeDistributed(inner)(L.TimeDistributed(L.Dense(5))(x)))


def folded_rows() -> Any:
    """Windows folded into the rows, as in window attention: each has noise of its own."""
    inputs = keras.Input((4, 5))
    x = keras.ops.reshape(L.Dense(5)(inputs), (-1, 5))
    x = L.Dropout(0.4)(x)
    return keras.Model(inputs, L.Dense(1)(keras.ops.reshape(x, (-1, 20))))


def drop_path() -> Any:
    inputs = keras.Input((6, 6, 2))
    x = L.Conv2D(4, 3, padding="same")(inputs)
    h = L.Dropout(0.3, noise_shape=(None, 1, 1, 1))(L.Conv2D(4, 3, padding="same")(x))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(L.Add()([x, h]))))


def self_normalising() -> Any:
    x = inputs = keras.Input((6,))
    x = L.AlphaDropout(0.2)(L.Dense(16, "selu")(x))
    x = L.GaussianDropout(0.3)(x)
    return keras.Model(inputs, L.Dense(1)(L.GaussianNoise(0.1)(x)))


def augmented() -> Any:
    """Augmentation is random when training by default; it never runs here."""
    x = inputs = keras.Input((8, 8, 1))
    x = L.RandomRotation(0.4)(L.RandomFlip()(x))
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.3)(L.Flatten()(x))))


def forced() -> Any:
    """A site that was built with `training=True`."""
    inputs = keras.Input((6,))
    x = L.Dropout(0.5)(L.Dense(8, "relu")(inputs), training=True)
    return keras.Model(inputs, L.Dense(2)(L.BatchNormalization()(x)))


def spectral() -> Any:
    inputs = keras.Input((6,))
    x = L.SpectralNormalization(L.Dense(8, "relu"))(inputs)
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.5)(x)))


def _mixed(policy: str) -> Callable[[], Any]:
    def mixed() -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            x = inputs = keras.Input((6,))
            x = L.Dropout(0.4)(L.Dense(16, "relu")(x))
            x = L.Dropout(0.2)(L.LayerNormalization()(L.Dense(16)(x)))
            return keras.Model(inputs, L.Dense(2)(x))
        finally:
            keras.config.set_dtype_policy(before)

    return mixed


@keras.saving.register_keras_serializable("zoo")
class Jitter(L.Layer):
    """A custom layer that draws its own noise, and says how."""

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = stddev
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        return x + self.stddev * keras.random.normal(keras.ops.shape(x), seed=self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


def _jitter(layer: Jitter, draw: Draw, x: Any) -> Any:
    return draw.normal(x, lambda a, z: a + layer.stddev * z)


register_noise(Jitter, armed=_jitter)


def registered() -> Any:
    inputs = keras.Input((6,))
    return keras.Model(inputs, L.Dense(2)(Jitter(0.3)(L.Dense(8, "relu")(inputs))))


FAMILIES: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        sequential,
        sequential_without_input,
        convolutional,
        skip,
        nested,
        two_inputs,
        named_inputs_and_outputs,
        certain_output,
        subclassed,
        images_of_any_size,
        volumes,
        embedding,
        masked_embedding,
        categories,
        text,
        transformer,
        attention,
        lstm,
        recurrent,
        conv_lstm,
        time_distributed,
        time_distributed_any_length,
        tagger,
        folded_rows,
        drop_path,
        self_normalising,
        augmented,
        forced,
        spectral,
        registered,
    )
} | {policy: _mixed(policy) for policy in ("mixed_float16", "mixed_bfloat16")}

SITES: dict[str, list[tuple[str, int]]] = {
    "sequential": [("Dropout", 1), ("Dropout", 1)],
    "nested": [("Dropout", 2), ("Dropout", 1)],
    "subclassed": [("Dropout", 2)],
    "transformer": [("Dropout", 1)] * 6,
    "attention": [("Attention dropout", 1), ("AdditiveAttention dropout", 1), ("Dropout", 1)],
    "lstm": [("LSTMCell dropout", 4), ("LSTMCell recurrent_dropout", 4)],
    "time_distributed": [("Dropout", 1), ("Dropout", 1)],
    "augmented": [("Dropout", 1)],
    "registered": [("Jitter", 1)],
}


def build(family: str) -> Any:
    """The model of a family; the same weights every time."""
    keras.utils.set_random_seed(3)
    model = FAMILIES[family]()
    for variable in model.variables:  # moving averages that differ from their start, so that a change would show
        if "moving" in variable.path:
            variable.assign(variable + 0.1)
    return model
