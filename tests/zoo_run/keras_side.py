"""What Keras itself says of a member, in a process that never loads the engine: builds, saves, answers, draws.

The reference is naive on purpose: eager calls, `training=True`, 100 copies of a row in a call. Layers that training
would change are held in inference: batch normalisation by `trainable = False`, which Keras documents, spectral
normalisation and augmentation by calls with `training=False`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

ROWS_AT_ONCE = 100
DRAWS = 1000
MOST_UNITS = 512
SECONDS = 30.0
LEAST_DRAWS = 200
SEED = 3


def run(connection: Connection, member: str, file: str) -> None:
    """Build and save the member, say what it is; then, for each request, answer or draw. An empty request ends it."""
    import keras

    from tests.zoo_run.members import find

    keras.utils.set_random_seed(SEED)
    found = find(member)
    model = found.build()
    for variable in model.variables:
        # Moving averages as they start are shifted, so that a change would show; measured ones stay.
        if "moving" in variable.path and np.unique(variable.numpy()).size == 1:
            variable.assign(variable + 0.1)
    model.save(file)
    connection.send(describe(model, keras))
    while request := connection.recv():
        connection.send(plain(model, request["rows"]) if "rows" in request else draws(model, **request))


def describe(model: Any, keras: Any) -> dict[str, Any]:
    """What the command line must be told: the module of the model's own layers, and its task."""
    homes = {type(layer).__module__ for layer in [model, *flatten(model)]}
    own = [importlib.import_module(home).__file__ for home in sorted(homes) if home.startswith("tests.zoo.")]
    module = own[0] if own else "keras_hub" if any(home.startswith("keras_hub") for home in homes) else None
    last = [tensor._keras_history.operation for tensor in keras.tree.flatten(getattr(model, "outputs", None) or [])]
    softmax = [getattr(getattr(layer, "activation", None), "__name__", "") == "softmax" for layer in last]
    return {
        "module": module,
        "task": "classification" if softmax and all(softmax) else "regression",
        "parameters": int(model.count_params()),
        "layers": sum(bool(layer.weights) for layer in flatten(model)),
    }


def flatten(model: Any) -> list[Any]:
    """Every layer of a model, those inside of others too."""
    return list(model._flatten_layers(include_self=False))


def called(model: Any, rows: Mapping[str, Any], training: bool) -> list[Any]:
    """One eager call; the outputs as float64 arrays."""
    import keras

    given = {name: keras.ops.convert_to_tensor(x.tolist() if x.dtype == object else x) for name, x in rows.items()}
    struct = getattr(model, "input", None) if getattr(model, "inputs", None) else None
    if isinstance(struct, dict):
        x: Any = {
            key: given[getattr(tensor, "name", key)] if key not in given else given[key]
            for key, tensor in struct.items()
        }
    else:
        x = list(given.values())
        x = x[0] if len(x) == 1 and not isinstance(struct, (list, tuple)) else x
    outputs = keras.tree.flatten(model(x, training=training))
    return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(y, "float64"))) for y in outputs]


def plain(model: Any, rows: Mapping[str, Any]) -> dict[str, Any]:
    """Keras's own answer, twice: some models draw even when they only predict."""
    return {"first": called(model, rows, False), "second": called(model, rows, False)}


def draws(model: Any, row: Mapping[str, Any], rows_at_once: int, calls: int) -> dict[str, Any]:
    """Draws of one row, (S, units) for each output."""
    hold_still(model)
    many = {name: np.repeat(x, rows_at_once, axis=0) for name, x in row.items()}
    began, kept = time.monotonic(), []
    for call in range(calls):
        kept.append([units(y.reshape(rows_at_once, -1)) for y in called(model, many, True)])
        if (call + 1) * rows_at_once >= LEAST_DRAWS and time.monotonic() - began > SECONDS:
            break
    return {"draws": [np.concatenate(output) for output in zip(*kept, strict=True)]}


def units(flat: Any) -> Any:
    """Of very many units some, evenly spread."""
    return flat[:, :: max(1, -(-flat.shape[1] // MOST_UNITS))]


def hold_still(model: Any) -> None:
    """Have every layer that training changes, or that augments, run in inference."""
    import keras

    if getattr(model, "_zoo_held", False):
        return
    model._zoo_held = True
    augmenting = [t for name, t in vars(keras.layers).items() if name.startswith("Random") and isinstance(t, type)]
    pinned = (*augmenting, keras.layers.SpectralNormalization)
    for layer in flatten(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        elif isinstance(layer, pinned) or type(layer).__name__ in ("RandomApply", "AugMix", "MixUp", "CutMix"):
            layer.call = _without_training(layer.call)


def _without_training(call: Callable[..., Any]) -> Callable[..., Any]:
    def in_inference(*args: Any, training: Any = None, **kwargs: Any) -> Any:
        return call(*args, training=False, **kwargs)

    return in_inference
