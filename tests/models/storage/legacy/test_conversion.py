"""A model of an old file computes what it computed when it was saved: layers against their closed form in NumPy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.models.storage.legacy import old_files as old
from tests.models.storage.legacy.old_files import answer, functional, layer, load, numbers, sequential, write_h5
from tests.serving import ROOT
from thinned.models.errors import ModelFileError
from thinned.models.storage.legacy.conversion import current_archive

L = keras.layers
X = numbers(3, 5, 4)
ROW = numbers(3, 4)
INIT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None},
}
RNN: dict[str, Any] = {
    "trainable": True,
    "return_sequences": False,
    "return_state": False,
    "go_backwards": False,
    "stateful": False,
    "unroll": False,
    "use_bias": True,
    "kernel_initializer": INIT,
    "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}},
    "bias_constraint": None,
    "dropout": 0.1,
    "recurrent_dropout": 0.0,
    "implementation": 1,
    "activation": "tanh",
    "recurrent_activation": "hard_sigmoid",
}


def close(received: Any, expected: Any) -> None:
    assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def gates(n: int, units: int = 3, width: int = 4) -> tuple[Any, Any, Any]:
    return numbers(width, n * units), numbers(units, n * units), numbers(n * units)


def named(prefix: str, arrays: Any) -> dict[str, Any]:
    return dict(zip([f"{prefix}/{one}:0" for one in ("kernel", "recurrent_kernel", "bias")], arrays, strict=True))


def test_a_list_of_layers(tmp_path: Path) -> None:
    """Sequential as Keras 2.2 and before wrote it; the name of the input is the one that Keras 2 gave it."""
    kernel, bias = numbers(4, 2), numbers(2)
    dense = layer(
        "Dense",
        "dense_1",
        units=2,
        activation="hard_sigmoid",
        use_bias=True,
        kernel_initializer=INIT,
        activity_regularizer=None,
        batch_input_shape=[None, 4],
        dtype="float32",
    )
    drop = layer("Dropout", "dropout_1", rate=0.5, noise_shape=None, seed=None, trainable=True)
    config = sequential(dense, drop)
    config["config"] = config["config"]["layers"]
    weights = {"dense_1": {"dense_1/kernel:0": kernel, "dense_1/bias:0": bias}, "dropout_1": {}}
    model = load(write_h5(tmp_path / "m.h5", config, weights, version="2.2.4"))
    close(answer(model, ROW), old.hard_sigmoid(ROW @ kernel + bias))
    assert model.inputs[0].name == "dense_1_input"
    assert [type(one).__name__ for one in model.layers] == ["Dense", "Dropout"]


@pytest.mark.parametrize("extra", [{}, {"time_major": False, "unit_forget_bias": True}])
def test_lstm_with_the_hard_sigmoid_of_its_time(tmp_path: Path, extra: dict[str, Any]) -> None:
    arrays = gates(4)
    config = sequential(layer("LSTM", "lstm", units=3, batch_input_shape=[None, 5, 4], **RNN, **extra))
    model = load(write_h5(tmp_path / "m.h5", config, {"lstm": named("lstm/lstm_cell", arrays)}))
    close(answer(model, X), old.lstm(X, *arrays))


def test_the_file_that_is_stored_needs_no_conversion(tmp_path: Path) -> None:
    """What it refers to, the old hard sigmoid, is registered by the reader of archives alone."""
    config = sequential(layer("LSTM", "lstm", units=3, batch_input_shape=[None, 5, 4], **RNN))
    archive = current_archive(write_h5(tmp_path / "m.h5", config, {"lstm": named("lstm", gates(4))}))
    read = "import sys, pathlib; from thinned.models.storage.keras_archive import read_keras as r"
    command = [sys.executable, "-c", f"{read}; r(pathlib.Path(sys.argv[1]))", str(archive.path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    path = archive.path
    del archive
    assert not path.exists()


@pytest.mark.parametrize("said", [{}, {"reset_after": False}])
def test_gru_resets_before_the_product_unless_said(tmp_path: Path, said: dict[str, Any]) -> None:
    arrays = gates(3)
    config = sequential(layer("GRU", "gru", units=3, batch_input_shape=[None, 5, 4], **RNN, **said))
    close(answer(load(write_h5(tmp_path / "m.h5", config, {"gru": named("gru", arrays)})), X), old.gru(X, *arrays))


def test_gru_after(tmp_path: Path) -> None:
    kernel, recurrent, _ = gates(3)
    bias = numbers(2, 9)
    config = sequential(
        layer(
            "GRU",
            "gru",
            units=3,
            batch_input_shape=[None, 5, 4],
            **RNN | {"recurrent_activation": "sigmoid", "reset_after": True},
        )
    )
    file = write_h5(tmp_path / "m.h5", config, {"gru": named("gru/gru_cell_2", (kernel, recurrent, bias))})
    close(answer(load(file), X), old.gru_after(X, kernel, recurrent, bias))


def test_bidirectional(tmp_path: Path) -> None:
    ahead, back = gates(4), gates(4)
    inner = {"class_name": "LSTM", "config": {"name": "lstm_1", "units": 3, **RNN}}
    config = sequential(
        layer("Bidirectional", "both", layer=inner, merge_mode="concat", batch_input_shape=[None, 5, 4], trainable=True)
    )
    weights = {"both": named("both/forward_lstm_1", ahead) | named("both/backward_lstm_1", back)}
    model = load(write_h5(tmp_path / "m.h5", config, weights, version="2.2.4-tf"))
    close(answer(model, X), np.concatenate([old.lstm(X, *ahead), old.lstm(X[:, ::-1], *back)], axis=-1))


def test_bidirectional_round_a_layer_that_goes_backwards(tmp_path: Path) -> None:
    """Its second layer goes ahead; Keras 3 by itself would have both go backwards."""
    back, ahead = gates(4), gates(4)
    inner = {"class_name": "LSTM", "config": {"name": "lstm_1", "units": 3, **RNN, "go_backwards": True}}
    config = sequential(layer("Bidirectional", "both", layer=inner, merge_mode="sum", batch_input_shape=[None, 5, 4]))
    weights = {"both": named("both/forward_lstm_1", back) | named("both/backward_lstm_1", ahead)}
    model = load(write_h5(tmp_path / "m.h5", config, weights))
    close(answer(model, X), old.lstm(X[:, ::-1], *back) + old.lstm(X, *ahead))


@pytest.mark.parametrize(
    ("one", "rate"),
    [
        (layer("SpatialDropout1D", "d", rate=0.25, noise_shape=None, seed=None, trainable=True, dtype="float32"), 0.25),
        (layer("GaussianDropout", "d", rate=0.5, trainable=True), 0.5),
        (layer("AlphaDropout", "d", rate=0.1, trainable=True, noise_shape=None), 0.1),
        (layer("Dropout", "d", rate=0.2, trainable=True, noise_shape=[None, 1, 4], seed=3), 0.2),
    ],
)
def test_dropout_of_every_kind(tmp_path: Path, one: dict[str, Any], rate: float) -> None:
    start = layer("InputLayer", "i", batch_input_shape=[None, 5, 4], dtype="float32")
    (made,) = load(write_h5(tmp_path / "m.h5", sequential(start, one), {})).layers
    assert (type(made).__name__, made.rate) == (one["class_name"], rate)


def test_mixed_precision(tmp_path: Path) -> None:
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    kernel, bias = numbers(4, 2), numbers(2)
    dense = layer("Dense", "d", units=2, use_bias=True, activation="linear", batch_input_shape=[None, 4], dtype=policy)
    model = load(write_h5(tmp_path / "m.h5", sequential(dense), {"d": {"d/kernel:0": kernel, "d/bias:0": bias}}))
    assert (model.layers[0].compute_dtype, model.layers[0].variable_dtype) == ("float16", "float32")
    assert_allclose(answer(model, ROW), ROW @ kernel + bias, rtol=2e-2, atol=1e-2)


def test_cudnn_lstm_and_gru(tmp_path: Path) -> None:
    """CuDNN keeps each gate's kernel transposed in memory, and two biases."""
    for name, n in (("CuDNNLSTM", 4), ("CuDNNGRU", 3)):
        kernels = [numbers(4, 3) for _ in range(n)]
        recurrents = [numbers(3, 3) for _ in range(n)]
        biases = numbers(2, 3 * n)
        stored = {
            "r/kernel:0": np.hstack([one.T.reshape(4, 3) for one in kernels]),
            "r/recurrent_kernel:0": np.hstack([one.T for one in recurrents]),
            "r/bias:0": biases.reshape(-1),
        }
        plain = {
            "trainable": True,
            "return_sequences": False,
            "return_state": False,
            "go_backwards": False,
            "stateful": False,
        }
        config = sequential(layer(name, "r", units=3, batch_input_shape=[None, 5, 4], **plain))
        model = load(write_h5(tmp_path / f"{name}.h5", config, {"r": stored}))
        kernel, recurrent = np.hstack(kernels), np.hstack(recurrents)
        if n == 4:
            close(answer(model, X), old.lstm(X, kernel, recurrent, biases.sum(axis=0), old.sigmoid))
        else:
            close(answer(model, X), old.gru_after(X, kernel, recurrent, biases))


@pytest.mark.parametrize("axis", [[3], 3, -1])
def test_convolution_and_normalisation(tmp_path: Path, axis: Any) -> None:
    x, kernel, bias = numbers(2, 6, 6, 3), numbers(3, 3, 3, 4), numbers(4)
    gamma, beta, mean, variance = numbers(4), numbers(4), numbers(4), np.abs(numbers(4))
    conv = layer(
        "Conv2D",
        "conv2d",
        batch_input_shape=[None, 6, 6, 3],
        filters=4,
        kernel_size=[3, 3],
        strides=[1, 1],
        padding="valid",
        data_format="channels_last",
        dilation_rate=[1, 1],
        groups=1,
        activation="linear",
        use_bias=True,
    )
    norm = layer("BatchNormalizationV1", "bn", axis=axis, momentum=0.99, epsilon=0.001, center=True, scale=True)
    leaky = layer("LeakyReLU", "leaky", alpha={"type": "ndarray", "value": 0.3})
    pool = layer("GlobalAveragePooling2D", "pool", data_format="channels_last")
    weights = {
        "conv2d": {"conv2d/kernel:0": kernel, "conv2d/bias:0": bias},
        "bn": {
            f"bn/{k}:0": v
            for k, v in zip(
                ("gamma", "beta", "moving_mean", "moving_variance"), (gamma, beta, mean, variance), strict=True
            )
        },
        "leaky": {},
        "pool": {},
    }
    y = (old.convolve(x, kernel, bias) - mean) / np.sqrt(variance + 0.001) * gamma + beta
    expected = np.where(y > 0, y, 0.3 * y).mean(axis=(1, 2))
    close(answer(load(write_h5(tmp_path / "m.h5", sequential(conv, norm, leaky, pool), weights)), x), expected)


def test_separable_and_depthwise_convolutions(tmp_path: Path) -> None:
    x, depth, point, bias = numbers(2, 5, 5, 2), numbers(3, 3, 2, 1), numbers(1, 1, 2, 3), numbers(3)
    common: dict[str, Any] = {
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "linear",
        "depth_multiplier": 1,
        "depthwise_initializer": INIT,
        "kernel_initializer": INIT,
        "kernel_regularizer": None,
    }
    separable = layer("SeparableConv2D", "s", batch_input_shape=[None, 5, 5, 2], filters=3, use_bias=True, **common)
    depthwise = layer("DepthwiseConv2D", "d", batch_input_shape=[None, 5, 5, 2], use_bias=False, **common)
    between = np.stack([old.convolve(x[..., [c]], depth[:, :, [c]], 0)[..., 0] for c in range(2)], axis=-1)
    weights: Any = {"s": {"s/depthwise_kernel:0": depth, "s/pointwise_kernel:0": point, "s/bias:0": bias}}
    close(answer(load(write_h5(tmp_path / "s.h5", sequential(separable), weights)), x), between @ point[0, 0] + bias)
    weights = {"d": {"d/depthwise_kernel:0": depth}}
    close(answer(load(write_h5(tmp_path / "d.h5", sequential(depthwise), weights)), x), between)


def test_a_shared_layer_and_two_inputs(tmp_path: Path) -> None:
    kernel, bias, last, end = numbers(4, 3), numbers(3), numbers(6, 2), numbers(2)
    config = functional(
        [["a", 0, 0], ["b", 0, 0]],
        [["out", 0, 0], ["sum", 0, 0]],
        layer("InputLayer", "a", batch_input_shape=[None, 4], dtype="float32", sparse=False, ragged=False),
        layer("InputLayer", "b", batch_input_shape=[None, 4], dtype="float32", sparse=False),
        layer("Dense", "shared", [["a", 0, 0, {}]], [["b", 0, 0, {}]], units=3, activation="relu", use_bias=True),
        layer("Concatenate", "join", [["shared", 1, 0, {}], ["shared", 0, 0, {}]], axis=-1),
        layer("Dropout", "drop", [["join", 0, 0, {"training": True}]], rate=0.0, noise_shape=None, seed=None),
        layer("Dense", "out", [["drop", 0, 0, {}]], units=2, activation="linear", use_bias=True),
        layer("Add", "sum", [["shared", 0, 0, {}], ["shared", 1, 0, {}]]),
    )
    weights = {
        "a": {},
        "b": {},
        "shared": {"shared/kernel:0": kernel, "shared/bias:0": bias},
        "join": {},
        "drop": {},
        "out": {"out/kernel:0": last, "out/bias:0": end},
        "sum": {},
    }
    a, b = numbers(3, 4), numbers(3, 4)
    model = load(write_h5(tmp_path / "m.h5", config, weights))
    u, v = (np.maximum(one @ kernel + bias, 0) for one in (a, b))
    for received, expected in zip(
        answer(model, a, b), (np.concatenate([v, u], axis=-1) @ last + end, u + v), strict=True
    ):
        close(received, expected)
    assert [one.name for one in model.inputs] == ["a", "b"]


@pytest.mark.parametrize("first", [0, 1])
def test_a_nested_model_called_twice(tmp_path: Path, first: int) -> None:
    """A model inside a model counts its calls from 1, a Sequential made late from 0. What is not trained comes last."""
    kernel, bias = numbers(4, 4), numbers(4)
    gamma, beta, mean, variance = numbers(4), numbers(4), numbers(4), np.abs(numbers(4))
    inner = functional(
        [["x", 0, 0]],
        [["dense_b", 0, 0]],
        layer("InputLayer", "x", batch_input_shape=[None, 4], dtype="float32"),
        layer("BatchNormalization", "bn", [["x", 0, 0, {}]], axis=[1], epsilon=0.001, momentum=0.9),
        layer("Dense", "dense_b", [["bn", 0, 0, {}]], units=4, activation="linear", use_bias=True),
        name="inner",
    )
    config = functional(
        ["in", 0, 0],
        [["end", 0, 0]],
        layer("InputLayer", "in", batch_input_shape=[None, 4], dtype="float32"),
        {
            **inner,
            "class_name": "Functional",
            "name": "inner",
            "inbound_nodes": [[["in", 0, 0, {}]], [["inner", first, 0, {}]]],
        },
        layer("Subtract", "end", [["inner", first, 0, {}], ["inner", first + 1, 0, {}]]),
    )
    weights = {
        "in": {},
        "inner": {
            "bn/gamma:0": gamma,
            "bn/beta:0": beta,
            "dense_b/kernel:0": kernel,
            "dense_b/bias:0": bias,
            "bn/moving_mean:0": mean,
            "bn/moving_variance:0": variance,
        },
        "end": {},
    }

    def once(x: Any) -> Any:
        return ((x - mean) / np.sqrt(variance + 0.001) * gamma + beta) @ kernel + bias

    model = load(write_h5(tmp_path / "m.h5", config, weights))
    close(answer(model, ROW), once(ROW) - once(once(ROW)))


def test_embedding_of_keras_1(tmp_path: Path) -> None:
    """Its names, twelve arrays for an LSTM, and no version in the file."""
    table, arrays, kernel, bias = numbers(7, 4), gates(4), numbers(3, 2), numbers(2)
    config = {
        "class_name": "Sequential",
        "config": [
            {
                "class_name": "Embedding",
                "config": {
                    "name": "embedding_1",
                    "input_dim": 7,
                    "output_dim": 4,
                    "init": "uniform",
                    "input_length": 5,
                    "mask_zero": False,
                    "dropout": 0.0,
                    "W_regularizer": None,
                    "W_constraint": None,
                    "activity_regularizer": None,
                    "batch_input_shape": [None, 5],
                    "input_dtype": "int32",
                    "trainable": True,
                },
            },
            {
                "class_name": "LSTM",
                "config": {
                    "name": "lstm_1",
                    "output_dim": 3,
                    "init": "glorot_uniform",
                    "inner_init": "orthogonal",
                    "forget_bias_init": "one",
                    "activation": "tanh",
                    "inner_activation": "hard_sigmoid",
                    "dropout_W": 0.2,
                    "dropout_U": 0.1,
                    "consume_less": "cpu",
                    "input_dim": 4,
                    "input_length": 5,
                    "go_backwards": False,
                    "return_sequences": False,
                    "stateful": False,
                    "unroll": False,
                    "W_regularizer": None,
                    "U_regularizer": None,
                    "b_regularizer": None,
                    "trainable": True,
                },
            },
            {"class_name": "Dropout", "config": {"name": "dropout_1", "p": 0.5, "trainable": True}},
            {
                "class_name": "Dense",
                "config": {
                    "name": "dense_1",
                    "output_dim": 2,
                    "init": "glorot_uniform",
                    "activation": "softmax",
                    "bias": True,
                    "input_dim": None,
                    "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.1},
                    "b_constraint": None,
                    "trainable": True,
                },
            },
        ],
    }
    kernels, recurrents, biases = (np.split(one, 4, axis=-1) for one in arrays)
    one_by_one = {
        f"lstm_1_{letter}_{gate}:0": parts[number]
        for gate, number in (("i", 0), ("c", 2), ("f", 1), ("o", 3))
        for letter, parts in (("W", kernels), ("U", recurrents), ("b", biases))
    }
    weights = {
        "embedding_1": {"embedding_1_W:0": table},
        "lstm_1": one_by_one,
        "dropout_1": {},
        "dense_1": {"dense_1_W:0": kernel, "dense_1_b:0": bias},
    }
    model = load(write_h5(tmp_path / "m.h5", config, weights, version=None))
    tokens = np.random.default_rng(0).integers(0, 7, size=(3, 5))
    logits = old.lstm(table[tokens], *arrays) @ kernel + bias
    close(answer(model, tokens), np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))
    assert (model.layers[1].dropout, model.layers[2].rate) == (0.2, 0.5)
    assert model.inputs[0].dtype == "int32"


def test_convolution_and_merge_of_keras_1(tmp_path: Path) -> None:
    kernel, bias = numbers(3, 3, 2, 4), numbers(4)
    statistics = [numbers(4), numbers(4), numbers(4), np.abs(numbers(4))]
    names = ("gamma", "beta", "running_mean", "running_std")
    config = functional(
        [["i", 0, 0]],
        [["m", 0, 0]],
        layer("InputLayer", "i", batch_input_shape=[None, 5, 5, 2], input_dtype="float32", sparse=False),
        layer(
            "Convolution2D",
            "c",
            [["i", 0, 0]],
            nb_filter=4,
            nb_row=3,
            nb_col=3,
            border_mode="valid",
            subsample=[1, 1],
            dim_ordering="tf",
            init="uniform",
            bias=True,
            activation="relu",
            W_regularizer=None,
        ),
        layer("BatchNormalization", "b", [["c", 0, 0]], mode=0, axis=-1, epsilon=1e-5, momentum=0.99, beta_init="zero"),
        layer("Merge", "m", [["c", 0, 0], ["b", 0, 0]], mode="concat", concat_axis=-1, mode_type="raw", dot_axes=-1),
    )
    weights = {
        "i": {},
        "c": {"c_W:0": kernel, "c_b:0": bias},
        "b": {f"b_{name}:0": array for name, array in zip(names, statistics, strict=True)},
        "m": {},
    }
    x = numbers(2, 5, 5, 2)
    y = np.maximum(old.convolve(x, kernel, bias), 0)
    gamma, beta, mean, variance = statistics
    expected = np.concatenate([y, (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta], axis=-1)
    close(answer(load(write_h5(tmp_path / "m.h5", config, weights, version="1.2.2")), x), expected)


def test_kernels_that_theano_turned_round(tmp_path: Path) -> None:
    x, kernel, bias = numbers(2, 5, 5, 2), numbers(3, 3, 2, 4), numbers(4)
    conv = layer(
        "Conv2D",
        "c",
        batch_input_shape=[None, 5, 5, 2],
        filters=4,
        kernel_size=[3, 3],
        data_format="channels_last",
        use_bias=True,
    )
    weights = {"c": {"c/kernel:0": kernel[::-1, ::-1], "c/bias:0": bias}}
    archive = current_archive(write_h5(tmp_path / "m.h5", sequential(conv), weights, backend="theano"))
    assert "theano" in archive.notes[1]
    close(answer(old.read_keras(archive.path), x), old.convolve(x, kernel, bias))


def test_state_handed_to_a_recurrent_layer(tmp_path: Path) -> None:
    """An encoder's states, in the list of inputs or by name; a policy as Keras 2.4 wrote it."""
    first, second = gates(4), gates(4)
    policy = {"class_name": "Policy", "config": {"name": "float32"}}
    inputs = layer("InputLayer", "i", batch_input_shape=[None, 5, 4], dtype="float32")
    encoder = layer("LSTM", "e", [["i", 0, 0, {}]], units=3, dtype=policy, **RNN | {"return_state": True})
    listed = [["i", 0, 0, {}], ["e", 0, 1, {}], ["e", 0, 2, {}]]
    by_name = [["i", 0, 0, {"initial_state": [["e", 0, 1], ["e", 0, 2]]}]]
    answers = []
    for number, node in enumerate((listed, by_name)):
        config = functional([["i", 0, 0]], [["d", 0, 0]], inputs, encoder, layer("LSTM", "d", node, units=3, **RNN))
        weights = {"i": {}, "e": named("e/lstm_cell", first), "d": named("d/lstm_cell_1", second)}
        answers.append(answer(load(write_h5(tmp_path / f"{number}.h5", config, weights)), X))
    close(answers[0], answers[1])
    assert not np.allclose(answers[0], old.lstm(X, *second), atol=1e-2)


def test_layers_of_a_module(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Scaled(keras.layers.Layer):\n"
        "    def __init__(self, activation=None, kernel_initializer='ones', **more):\n"
        "        super().__init__(**more)\n"
        "        self.activation = keras.activations.get(activation)\n"
        "        self.initializer = keras.initializers.get(kernel_initializer)\n"
        "    def build(self, shape):\n"
        "        self.kernel = self.add_weight(shape=(shape[-1],), initializer=self.initializer, name='kernel')\n"
        "    def call(self, x):\n"
        "        return self.activation(x * self.kernel)\n"
        "    def get_config(self):\n"
        "        activation = keras.activations.serialize(self.activation)\n"
        "        return {**super().get_config(), 'activation': activation,\n"
        "                'kernel_initializer': keras.initializers.serialize(self.initializer)}\n"
        "def doubled(x):\n"
        "    return 2 * x\n"
    )
    kernel, dense, bias = numbers(4), numbers(4, 2), numbers(2)
    for class_name in ("Scaled", "mine>Scaled"):
        scaled = layer(
            class_name,
            "s",
            batch_input_shape=[None, 4],
            activation="hard_sigmoid",
            dtype="float32",
            kernel_initializer={
                "class_name": "RandomNormal",
                "config": {"mean": 0.0, "stddev": 1.0, "seed": None, "dtype": "float32"},
            },
        )
        config = sequential(scaled, layer("Dense", "d", units=2, activation="doubled", use_bias=True))
        weights = {"s": {"s/kernel:0": kernel}, "d": {"d/kernel:0": dense, "d/bias:0": bias}}
        model = load(write_h5(tmp_path / "m.h5", config, weights, version="2.15.0"), module)
        close(answer(model, ROW), 2 * (old.hard_sigmoid(ROW * kernel) @ dense + bias))


def test_lists_of_names_in_pieces(tmp_path: Path) -> None:
    """HDF5 holds 64 KiB in an attribute; longer lists stand in numbered ones."""
    kernel, bias = numbers(4, 2), numbers(2)
    dense = layer("Dense", "dense", units=2, use_bias=True, activation="linear", batch_input_shape=[None, 4])
    path = write_h5(tmp_path / "m.h5", sequential(dense), {"dense": {"dense/kernel:0": kernel, "dense/bias:0": bias}})
    with h5py.File(path, "a") as file:
        group = file["model_weights/dense"]
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = [b"dense/kernel:0"], [b"dense/bias:0"]
    close(answer(load(path), ROW), ROW @ kernel + bias)


def test_hdf5_of_this_keras(tmp_path: Path) -> None:
    """Here a hard sigmoid is today's."""
    x = keras.Input((6, 4), name="x")
    inner = keras.Sequential(
        [keras.Input((6, 4)), L.Dense(3, activation="hard_sigmoid"), L.BatchNormalization()], name="inner"
    )
    h = L.MultiHeadAttention(2, 3, dropout=0.1)(inner(x), inner(x))
    h = L.Bidirectional(L.GRU(3, dropout=0.2))(L.TimeDistributed(L.Dense(3))(L.LayerNormalization()(h)))
    model = keras.Model(x, [L.Dense(2, activation=L.LeakyReLU(0.1), name="y")(h), L.Activation("softmax", name="z")(h)])
    for weight in model.weights:
        weight.assign(np.abs(numbers(*weight.shape)))
    model.save(tmp_path / "m.h5")
    rows = numbers(3, 6, 4)
    for received, expected in zip(answer(load(tmp_path / "m.h5"), rows), answer(model, rows), strict=True):
        close(received, expected)


@pytest.mark.parametrize("root", ["layers", "_layer_checkpoint_dependencies"])
def test_archives_of_keras_2(tmp_path: Path, root: str) -> None:
    """Layers are numbered by class; Keras 2.12 numbered each one twice."""
    one, a, two, b, arrays = numbers(4, 4), numbers(4), numbers(4, 4), numbers(4), gates(4)
    config = sequential(
        layer("InputLayer", "input_1", batch_input_shape=[None, 5, 4], dtype="float32"),
        layer("Dense", "zz", units=4, activation="linear", use_bias=True),
        layer("Dropout", "dropout", rate=0.5, noise_shape=None, seed=None),
        layer(
            "Dense",
            "aa",
            units=4,
            activation={
                "module": "builtins",
                "class_name": "function",
                "config": "hard_sigmoid",
                "registered_name": "function",
            },
        ),
        layer("LSTM", "lstm", units=3, **RNN, time_major=False),
    )
    for inner in config["config"]["layers"]:
        inner |= {"module": "keras.layers", "registered_name": None, "build_config": {"input_shape": [None, 5, 4]}}
    second = "dense_2" if root.startswith("_") else "dense_1"
    tree = {
        f"{root}/dense/vars/0": one,
        f"{root}/dense/vars/1": a,
        f"{root}/{second}/vars/0": two,
        f"{root}/{second}/vars/1": b,
    }
    tree |= {f"{root}/lstm/cell/vars/{number}": array for number, array in enumerate(arrays)}
    tree |= {"optimizer/vars/0": np.zeros(3)}
    model = load(old.write_archive(tmp_path / "m.keras", config, tree))
    close(answer(model, X), old.lstm(old.hard_sigmoid((X @ one + a) @ two + b), *arrays))


def test_an_archive_of_wrapped_and_nested_layers(tmp_path: Path) -> None:
    """What is inside a layer stands under its attribute; a functional model names its class as Keras 2 had it."""
    one, a, ahead, back = numbers(4, 4), numbers(4), gates(4), gates(4)
    inner = functional(
        [["x", 0, 0]],
        [["inside", 0, 0]],
        layer("InputLayer", "x", batch_input_shape=[None, 4], dtype="float32"),
        layer("Dense", "inside", [["x", 0, 0, {}]], units=4, activation="tanh", use_bias=True),
        name="part",
    )
    lstm = {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "lstm", "units": 3, **RNN}}
    nested = {
        **inner,
        "class_name": "Functional",
        "module": "keras.src.engine.functional",
        "registered_name": "Functional",
    }
    attended = [["each", 0, 0, {"value": ["each", 0, 0]}]]
    config = functional(
        [["i", 0, 0]],
        [["both", 0, 0]],
        layer("InputLayer", "i", batch_input_shape=[None, 5, 4], dtype="float32"),
        layer("TimeDistributed", "each", [["i", 0, 0, {}]], layer=nested),
        layer("MultiHeadAttention", "mha", attended, num_heads=2, key_dim=3, query_shape=[None, 5, 4], dropout=0.1),
        layer("Bidirectional", "both", [["mha", 0, 0, {}]], layer=lstm, merge_mode="concat"),
    )
    config |= {"class_name": "Functional", "module": "keras.src.engine.functional", "registered_name": "Functional"}
    tree = {
        "layers/time_distributed/layer/layers/dense/vars/0": one,
        "layers/time_distributed/layer/layers/dense/vars/1": a,
    }
    heads = {name: (numbers(4, 2, 3), numbers(2, 3)) for name in ("query", "key", "value")}
    heads["output"] = (numbers(2, 3, 4), numbers(4))
    for name, pair in heads.items():
        tree |= {f"layers/multi_head_attention/_{name}_dense/vars/{n}": array for n, array in enumerate(pair)}
    for name, arrays in (("forward_layer", ahead), ("backward_layer", back)):
        tree |= {f"layers/bidirectional/{name}/cell/vars/{n}": array for n, array in enumerate(arrays)}
    model = load(old.write_archive(tmp_path / "m.keras", config, tree, version="2.14.0"))
    x = np.tanh(X @ one + a)
    q, k, v = (np.einsum("btd,dhe->bhte", x, w) + b[:, None] for w, b in (heads[n] for n in ("query", "key", "value")))
    scores = np.exp(np.einsum("bhte,bhse->bhts", q, k) / np.sqrt(3))
    mixed = np.einsum("bhts,bhse->bthe", scores / scores.sum(axis=-1, keepdims=True), v)
    y = np.einsum("bthe,hed->btd", mixed, heads["output"][0]) + heads["output"][1]
    close(answer(model, X), np.concatenate([old.lstm(y, *ahead), old.lstm(y[:, ::-1], *back)], axis=-1))


def test_layers_of_one_class_keep_their_own_weights(tmp_path: Path) -> None:
    """Of one shape on two branches: told apart by their place in the configuration, not by the graph's order."""
    arrays = [numbers(4, 4) for _ in range(3)]
    start = layer("InputLayer", "i", batch_input_shape=[None, 4], dtype="float32")
    plain: dict[str, Any] = {"units": 4, "use_bias": False}
    config = functional(
        [["i", 0, 0]],
        [["end", 0, 0]],
        start,
        layer("Dense", "b", [["i", 0, 0, {}]], activation="linear", **plain),
        layer("Dense", "a", [["i", 0, 0, {}]], activation="tanh", **plain),
        layer("Dense", "c", [["a", 0, 0, {}]], activation="linear", **plain),
        layer("Subtract", "end", [["c", 0, 0, {}], ["b", 0, 0, {}]]),
    )
    b, a, c = arrays
    expected = np.tanh(ROW @ a) @ c - ROW @ b
    tree = {f"layers/dense{'' if n == 0 else f'_{n}'}/vars/0": array for n, array in enumerate(arrays)}
    close(
        answer(load(old.write_archive(tmp_path / "m.keras", {**config, "class_name": "Functional"}, tree)), ROW),
        expected,
    )
    weights = {name: {f"{name}/kernel:0": array} for name, array in zip("bac", arrays, strict=True)}
    close(answer(load(write_h5(tmp_path / "m.h5", config, weights)), ROW), expected)
    tree = {path: array for path, array in tree.items() if "dense_2" not in path}
    with pytest.raises(ModelFileError, match="3 layers of the kind dense with weights, and weights for 2"):
        load(old.write_archive(tmp_path / "less.keras", {**config, "class_name": "Functional"}, tree))


@pytest.mark.parametrize("listed", [False, True])
def test_a_layer_of_a_module_with_layers_inside(tmp_path: Path, listed: bool) -> None:
    """Archives of Keras 2 sort attributes by name; Keras 3 lists weights as layers were set."""
    module = tmp_path / "block.py"
    made = "[keras.layers.Dense(4, use_bias=False)]" if listed else "keras.layers.Dense(4, use_bias=False)"
    module.write_text(
        "import keras\n"
        "class Block(keras.layers.Layer):\n"
        "    def __init__(self, **more):\n"
        "        super().__init__(**more)\n"
        f"        self.second, self.first = keras.layers.Dense(4, use_bias=False), {made}\n"
        "    def build(self, shape):\n"
        "        self.gain = self.add_weight(shape=(4,), name='gain')\n"
        "        for one in (self.second, self.first[0] if isinstance(self.first, list) else self.first):\n"
        "            one.build(shape)\n"
        "    def call(self, x):\n"
        "        return self.second(keras.ops.tanh((self.first[0] if isinstance(self.first, list) else self.first)(x)))"
        " * self.gain\n"
    )
    first, second, gain = numbers(4, 4), numbers(4, 4), numbers(4)
    config = sequential(layer("Block", "b", batch_input_shape=[None, 4], dtype="float32", trainable=True))
    inside = "first/dense" if listed else "first"
    tree = {"vars/0": gain, f"{inside}/vars/0": first, "second/vars/0": second}
    path = tmp_path / "m.keras"
    old.write_archive(path, config, {f"layers/block/{key}": array for key, array in tree.items()})
    if listed:
        with pytest.raises(ModelFileError, match=r"'b' keeps weights under 'first', .* save it as HDF5"):
            load(path, module)
    else:
        close(answer(load(path, module), ROW), np.tanh(ROW @ first) @ second * gain)
