"""Files in the layout of earlier Keras, written here because no earlier Keras can be installed beside this one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from thinned.models.storage.keras_archive import read_keras
from thinned.models.storage.legacy.conversion import current_archive

Weights = Mapping[str, Mapping[str, Any]]
RNG = np.random.default_rng(7)


def numbers(*shape: int) -> Any:
    return RNG.normal(size=shape).astype("float32")


def layer(class_name: str, name: str, *inbound: Any, **config: Any) -> dict[str, Any]:
    """A layer as Keras 2 writes it in a functional model; `inbound` holds its calls."""
    return {"class_name": class_name, "config": {"name": name, **config}, "name": name, "inbound_nodes": list(inbound)}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    plain = [{key: one[key] for key in ("class_name", "config")} for one in layers]
    return {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": plain}}


def functional(inputs: Any, outputs: Any, *layers: dict[str, Any], name: str = "model_1") -> dict[str, Any]:
    config = {"name": name, "layers": list(layers), "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Model", "config": config}


def write_h5(
    path: Path, config: Any, weights: Weights, *, version: str | None = "2.4.0", backend: str = "tensorflow"
) -> Path:
    """An HDF5 file as `model.save("model.h5")` of earlier Keras lays it out."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = (config if isinstance(config, str) else json.dumps(config)).encode()
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = backend.encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.asarray([name.encode() for name in weights])
        root.attrs["backend"] = backend.encode()
        for name, arrays in weights.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.asarray([label.encode() for label in arrays])
            for label, array in arrays.items():
                group.create_dataset(label, data=array)
    return path


def write_archive(path: Path, config: Any, tree: Mapping[str, Any], *, version: str = "2.13.1") -> Path:
    """A `.keras` archive as Keras 2 lays it out."""
    weights = path.with_suffix(".parts.h5")
    with h5py.File(weights, "w") as file:
        for label, array in tree.items():
            file.create_dataset(label, data=array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2023-07-01@10:00:00"}))
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.write(weights, "model.weights.h5")
    return path


def load(path: Path, module: Path | None = None) -> keras.Model:
    """The model that an old file becomes, by way of the archive that would be stored."""
    archive = current_archive(path, module)
    return read_keras(archive.path, module)


def answer(model: keras.Model, *inputs: Any) -> Any:
    found = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [np.asarray(one) for one in found] if isinstance(found, list | tuple) else np.asarray(found)


# What the layers compute, written in NumPy


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x: Any) -> Any:
    """Of Keras 1 and 2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def lstm(x: Any, kernel: Any, recurrent: Any, bias: Any, gate: Any = hard_sigmoid) -> Any:
    """The last state; gates in the order input, forget, cell, output."""
    h = c = np.zeros((len(x), recurrent.shape[0]))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=-1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    return h


def gru(x: Any, kernel: Any, recurrent: Any, bias: Any, gate: Any = hard_sigmoid) -> Any:
    """The last state, the reset before the product; gates in the order update, reset, state."""
    n = recurrent.shape[0]
    h = np.zeros((len(x), n))
    for t in range(x.shape[1]):
        a = x[:, t] @ kernel + bias
        z = gate(a[:, :n] + h @ recurrent[:, :n])
        r = gate(a[:, n : 2 * n] + h @ recurrent[:, n : 2 * n])
        h = z * h + (1 - z) * np.tanh(a[:, 2 * n :] + (r * h) @ recurrent[:, 2 * n :])
    return h


def gru_after(x: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """The last state, the reset after the product, with two biases."""
    n = recurrent.shape[0]
    h = np.zeros((len(x), n))
    for t in range(x.shape[1]):
        a, b = x[:, t] @ kernel + bias[0], h @ recurrent + bias[1]
        z, r = sigmoid(a[:, :n] + b[:, :n]), sigmoid(a[:, n : 2 * n] + b[:, n : 2 * n])
        h = z * h + (1 - z) * np.tanh(a[:, 2 * n :] + r * b[:, 2 * n :])
    return h


def convolve(x: Any, kernel: Any, bias: Any) -> Any:
    """Channels last, no padding, step 1."""
    rows, columns = kernel.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (rows, columns), axis=(1, 2))
    return np.einsum("bijcrk,rkcf->bijf", windows, kernel) + bias
