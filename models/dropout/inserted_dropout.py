"""Dropout put behind layers of a model that was trained without it.

What the passes of such a network spread over is no posterior that training has seen: its card and its audit say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinned.models.errors import UnsupportedModelError, UsageError

__all__ = ["INSERTED", "insert_dropout", "inserted_layer", "inserted_notes"]

INSERTED = "_inserted_dropout"
"""How the name of an inserted layer ends; before it stands the name of the layer that it is behind."""
_MOST_NAMES = 12


def inserted_layer(path: str) -> str | None:
    """The layer that an inserted site is behind; None for a site that the model came with.

    Args:
        path: The site's path.
    """
    name = path.rpartition("/")[2]
    return name.removesuffix(INSERTED) if name.endswith(INSERTED) else None


def insert_dropout(model: Any, rates: Mapping[str, float]) -> Any:
    """A model whose layers' outputs are dropped with these rates; all else of it is as it was, the weights included.

    Args:
        model: A Keras model, functional or sequential.
        rates: Probability that a unit is dropped, by the name of the layer whose outputs are.

    Returns:
        The model. It shares its layers with the one that was given.

    Raises:
        UsageError: There is no such layer, or the outputs of the model itself would be dropped.
        UnsupportedModelError: The model is a class of its own, whose layers are called by its own code.
    """
    _check(model, rates)
    return _rebuilt(model, rates)


def inserted_notes(rates: Mapping[str, float]) -> tuple[str, ...]:
    """What a card says of dropout that was put into a model."""
    return tuple(
        f"Dropout of rate {rate:g} was put behind '{layer}' at import. The model was not trained with it: how far its "
        "passes spread was never fitted to data. Calibrate it, and judge it by thinned evaluate."
        for layer, rate in rates.items()
    )


def _check(model: Any, rates: Mapping[str, float]) -> None:
    import keras

    from thinned.models.compat.keras import functional_graph

    sequential = isinstance(model, keras.Sequential)
    graph = functional_graph(model)
    if graph is None or not (sequential or graph is model):
        raise UnsupportedModelError(
            f"'{model.name}' is a class of its own, {type(model).__name__}: nothing can be put between layers that its "
            "code calls; put a keras.layers.Dropout into that code and save the model again"
        )
    names = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    last = names[-1:] if sequential else graph.output_names
    for name in rates:
        if name not in names:
            known = ", ".join(names[:_MOST_NAMES]) + (f", … ({len(names)} in all)" if len(names) > _MOST_NAMES else "")
            raise UsageError(
                f"--insert-dropout expects the name of a layer of the model, received {name!r}; it has {known}"
            )
        if name in last:
            raise UsageError(
                f"--insert-dropout: '{name}' gives an output of the model, and dropped outputs are no answers; name a "
                "layer before it"
            )


def _rebuilt(model: Any, rates: Mapping[str, float]) -> Any:
    """The same layers, with their weights, and dropout between them. A layer that is called twice is dropped twice."""
    import keras

    def dropped(name: str, number: int) -> Any:
        return keras.layers.Dropout(rates[name], name=f"{name}{'' if number == 0 else f'_{number}'}{INSERTED}")

    if isinstance(model, keras.Sequential):
        layers: list[Any] = [keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)]
        for layer in model.layers:
            layers += [layer, *([dropped(layer.name, 0)] if layer.name in rates else [])]
        return keras.Sequential(layers, name=model.name)
    calls: dict[str, int] = {}

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        outputs = layer(*arguments, **named)
        if layer.name not in rates:
            return outputs
        number = calls[layer.name] = calls.get(layer.name, -1) + 1
        return keras.tree.map_structure(dropped(layer.name, number), outputs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
