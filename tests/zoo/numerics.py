"""Precision, normalisation, quantised and adapted weights, and layers that are seldom seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

L, ops = keras.layers, keras.ops


def under(policy: str, make: Callable[[], Any]) -> Any:
    """A model that is built under a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


def around(*layers: Any, shape: tuple[int, ...] = (6,)) -> Any:
    """A model with these layers, a dropout and a dense layer behind them."""
    x = inputs = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.3)(L.Flatten()(x))))


def small_cnn() -> Any:
    return around(L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.MaxPooling2D(), shape=(10, 10, 1))


def small_transformer() -> Any:
    x = inputs = keras.Input((5, 8))
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4, dropout=0.2)(x, x))
    return keras.Model(inputs, L.Dense(3, "softmax")(L.Dropout(0.2)(L.Flatten()(x))))


def small_lstm() -> Any:
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, L.Dense(1)(L.LSTM(6, dropout=0.2, recurrent_dropout=0.2)(inputs)))


def half_with_full_output() -> Any:
    """The last layer in single precision, as the documentation of mixed precision advises."""
    inputs = keras.Input((6,))
    x = L.Dropout(0.3, dtype="mixed_float16")(L.Dense(16, "relu", dtype="mixed_float16")(inputs))
    return keras.Model(inputs, L.Dense(3, "softmax", dtype="float32")(x))


def double_input() -> Any:
    inputs = keras.Input((6,), dtype="float64")
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(8, "relu")(inputs))))


def pixels() -> Any:
    """Bytes come in; they are rescaled inside."""
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = L.Flatten()(L.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, L.Dense(4, "softmax")(L.Dropout(0.3)(L.Dense(8, "relu")(x))))


def quantised(mode: str) -> Any:
    x = inputs = keras.Input((16,))
    x = L.Dropout(0.3)(L.Dense(32, "relu")(x))
    model = keras.Model(inputs, L.Dense(4)(L.Dropout(0.2)(L.Dense(16, "relu")(x))))
    model.quantize(mode)
    return model


def quantised_transformer() -> Any:
    model = small_transformer()
    model.quantize("int8")
    return model


def adapted() -> Any:
    """Low-rank updates beside frozen kernels."""
    inputs = keras.Input((8,), dtype="int32")
    embedding, dense = L.Embedding(10, 8), L.Dense(12, "relu")
    x = L.GlobalAveragePooling1D()(embedding(inputs))
    model = keras.Model(inputs, L.Dense(2)(L.Dropout(0.3)(dense(x))))
    embedding.enable_lora(2)
    dense.enable_lora(2)
    return model


def frozen() -> Any:
    model = small_cnn()
    model.trainable = False
    return model


def compiled() -> Any:
    """Trained for a step, so that its optimizer is saved with it."""
    model = around(L.Dense(8, "relu"), L.BatchNormalization())
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(keras.random.normal((8, 6), seed=1), keras.random.normal((8, 2), seed=2), verbose=0)
    return model


def regularised() -> Any:
    return around(
        L.Dense(8, "relu", kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-3), activity_regularizer="l2"),
        L.Dense(8, kernel_constraint=keras.constraints.MaxNorm(2.0)),
        L.ActivityRegularization(l2=1e-3),
    )


def tied_weights() -> Any:
    """One layer used three times: a site of three calls."""
    dense, drop = L.Dense(6, "tanh"), L.Dropout(0.2)
    x = inputs = keras.Input((6,))
    for _ in range(3):
        x = drop(dense(x))
    return keras.Model(inputs, L.Dense(1)(x))


def cloned() -> Any:
    return keras.models.clone_model(small_transformer())


def sequential_of_models() -> Any:
    parts = [keras.Sequential([keras.Input((6,)), L.Dense(6, "relu"), L.Dropout(0.2)], name=name) for name in "ab"]
    return keras.Sequential([keras.Input((6,)), *parts, L.Dense(2)])


def gaussian_dropout() -> Any:
    return around(L.Dense(8, "relu"), L.GaussianDropout(0.4), L.Dense(8, "relu"))


def gaussian_noise() -> Any:
    return around(L.GaussianNoise(0.5), L.Dense(8, "relu"))


def no_noise() -> Any:
    inputs = keras.Input((6,))
    return keras.Model(inputs, L.Dense(2)(L.Dense(8, "relu")(inputs)))


def batch_normalization_in_the_suffix() -> Any:
    return around(L.Dropout(0.3), L.Dense(8), L.BatchNormalization(), L.PReLU())


NUMERICS: dict[str, Callable[[], Any]] = (
    {
        f"{make.__name__}_{policy}": lambda policy=policy, make=make: under(policy, make)
        for make in (small_cnn, small_transformer, small_lstm)
        for policy in ("mixed_float16", "mixed_bfloat16", "float64")
    }
    | {
        "pure_float16": lambda: under("float16", small_transformer),
        "pure_bfloat16": lambda: under("bfloat16", small_cnn),
        "quantised_int8": lambda: quantised("int8"),
        "quantised_int4": lambda: quantised("int4"),
        "quantised_float8": lambda: quantised("float8"),
        "group_normalization": lambda: around(L.Conv2D(4, 3), L.GroupNormalization(2), shape=(8, 8, 1)),
        "layer_normalization": lambda: around(L.Dense(8), L.LayerNormalization()),
        "rms_normalization": lambda: around(L.Dense(8), L.RMSNormalization()),
        "unit_normalization": lambda: around(L.Dense(8), L.UnitNormalization()),
        "spectral_normalization": lambda: around(L.SpectralNormalization(L.Conv2D(4, 3)), shape=(8, 8, 1)),
        "renormalised_axes": lambda: around(L.Dense(6), L.BatchNormalization(axis=1), shape=(4, 5)),
        "einsum_dense": lambda: around(L.EinsumDense("abc,cd->abd", (4, 7), bias_axes="d"), shape=(4, 5)),
        "locally_pooled": lambda: around(L.AdaptiveAveragePooling2D(3), shape=(8, 8, 2)),
        "activations": lambda: around(L.Dense(8), L.LeakyReLU(), L.PReLU(), L.ELU(), L.Activation("mish"), L.ReLU(6.0)),
        "padding_and_cropping": lambda: around(L.ZeroPadding2D(1), L.Cropping2D(1), L.UpSampling2D(2), shape=(4, 4, 2)),
        "channels_first_permuted": lambda: around(L.Permute((2, 3, 1)), L.Conv2D(3, 2), shape=(2, 5, 5)),
    }
    | {
        function.__name__: function
        for function in (
            half_with_full_output,
            double_input,
            pixels,
            quantised_transformer,
            adapted,
            frozen,
            compiled,
            regularised,
            tied_weights,
            cloned,
            sequential_of_models,
            gaussian_dropout,
            gaussian_noise,
            no_noise,
            batch_normalization_in_the_suffix,
        )
    }
)
