"""Keras builds what a file holds the weights for, in time; an honest model is never refused."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_array_equal

from thinned.models.errors import ModelFileError
from thinned.models.storage import bounded_building, config_safety
from thinned.models.storage.bounded_building import refuse_wide_layers
from thinned.models.storage.keras_archive import read_keras


def item(class_name: str, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def sequential(*inner: dict[str, Any], shape: tuple[int, ...] = (4,)) -> dict[str, Any]:
    first = item("InputLayer", batch_shape=[None, *shape], dtype="float32", name="x")
    return item("Sequential", "keras", name="m", layers=[first, *inner])


def archive(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "odd.keras"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (item("Dense", name="wide", units=10**9), (4,)),
        (item("Dense", name="wide", units=30_000), (30_000,)),
        (item("Conv2D", name="wide", filters=10**6, kernel_size=[9, 9]), (20, 20, 3)),
        (item("Embedding", name="wide", input_dim=10**9, output_dim=16), (4,)),
        (item("LSTM", name="wide", units=50_000), (3, 4)),
        (item("Dense", name="wide", units=10**9, kernel_initializer=item("Zeros", "keras.initializers")), (4,)),
    ],
)
def test_more_weights_than_the_file_holds_are_not_made(
    tmp_path: Path, layer: dict[str, Any], shape: tuple[int, ...]
) -> None:
    began = time.monotonic()
    with pytest.raises(
        ModelFileError, match=r"its configuration asks for .* of weights or more \(the layer '(wide|lstm)"
    ):
        read_keras(archive(tmp_path, sequential(layer, shape=shape)))
    assert time.monotonic() - began < 10
    assert "counted" not in keras.layers.Layer.add_weight.__name__


def quantised() -> keras.Model:
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64), layers.Dropout(0.5), layers.Dense(64)])
    for layer in (model.layers[0], model.layers[2]):
        layer.quantize("int8")
    return model


def shared() -> keras.Model:
    dense, x = layers.Dense(16), keras.Input((16,))
    y = x
    for _ in range(20):
        y = dense(y)
    return keras.Model(x, y)


def adapted() -> keras.Model:
    enabled = keras.Sequential([keras.Input((32,)), layers.Dense(32), layers.Dense(2)])
    enabled.layers[0].enable_lora(4)
    return enabled


@pytest.mark.parametrize("make", [quantised, shared, adapted])
def test_honest_models_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> None:
    """Even with nothing allowed beyond half a byte a number, four times."""
    monkeypatch.setattr(bounded_building, "allowed_elements", lambda size: 8 * size)
    model = make()
    model.save(tmp_path / "honest.keras")
    x = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    assert_array_equal(read_keras(tmp_path / "honest.keras")(x), model(x))


def test_a_sequential_model_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras builds it anew behind each layer: 100 layers took 5,000 calls, and 1,700 more than an hour."""
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, activation="tanh") for _ in range(60))])
    model.save(tmp_path / "deep.keras")
    calls = 0
    call = layers.Dense.call

    def counted(self: Any, inputs: Any, training: bool | None = None) -> Any:
        nonlocal calls
        calls += 1
        return call(self, inputs, training=training)

    monkeypatch.setattr(layers.Dense, "call", counted)
    again = read_keras(tmp_path / "deep.keras")
    assert calls <= 3 * 60
    x = np.ones((2, 4), "float32")
    assert_array_equal(again(x), model(x))
    again.add(layers.Dense(2))
    assert again(x).shape == (2, 2)


def test_a_model_without_an_input_layer_is_built_by_its_shape(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(2)])
    x = np.ones((2, 4), "float32")
    expected = model(x)
    model.save(tmp_path / "open.keras")
    assert_array_equal(read_keras(tmp_path / "open.keras")(x), expected)


def test_the_time_is_limited(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        try:
            time.sleep(20)
        except Exception:  # Keras catches what it likes
            return None

    monkeypatch.setattr(bounded_building, "allowed_seconds", lambda size, layers: 0.2)
    monkeypatch.setattr(keras.models, "load_model", slow)
    began = time.monotonic()
    with pytest.raises(ModelFileError, match=r"Keras did not build the model within 0 s"):
        read_keras(files / "sound.keras")
    assert time.monotonic() - began < 10


def test_a_thread_may_load_too(files: Path) -> None:
    """A service does, where no signal can be had."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(read_keras(files / "sound.keras"))) for _ in range(3)]
    add_weight = keras.layers.Layer.add_weight
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert keras.layers.Layer.add_weight is add_weight


def test_a_layer_wider_than_the_memory_is_refused_before_it_is_tried(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((1, 4)), layers.UpSampling1D(10**11, name="wide")])
    x = keras.Input((1, 4))
    with pytest.raises(ModelFileError, match=r"its layer 'wide' makes 1.6e\+03 GB of one row"):
        refuse_wide_layers(tmp_path / "m.keras", keras.Model(x, inner(x)))


def test_more_layers_than_any_model_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_safety, "MOST_LAYERS", 10)
    path = archive(tmp_path, sequential(*(item("Dense", name=f"d{i}", units=1) for i in range(20))))
    with pytest.raises(ModelFileError, match="its configuration has 22 layers, and at most 10"):
        read_keras(path)
