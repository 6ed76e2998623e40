"""A model's configuration as plain JSON: what in it is Python code, found before anything is built from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinned.models.errors import ModelFileError
from thinned.models.storage.limits import MOST_LAYERS

__all__ = ["count_layers", "refuse_lambdas"]


def refuse_lambdas(path: Path, config: Any) -> None:
    """Refuse a configuration that holds a Lambda layer, or a lambda in another layer's argument.

    Args:
        path: The file it stands in, for the message.
        config: The configuration, as JSON.

    Raises:
        ModelFileError: It holds Python code.
    """
    for item in _objects(config):
        if item.get("class_name") == "Lambda":
            inner = item.get("config")
            name = inner.get("name", "lambda") if isinstance(inner, dict) else "lambda"
            what = f"the Lambda layer {name!r}"
        elif item.get("class_name") == "__lambda__" or _is_code(item):
            what = "a Python lambda"
        else:
            continue
        raise ModelFileError(
            f"{path} holds {what}, that is, Python code which would run when the file is loaded; write it as a Layer "
            "subclass in a module of your own, pass that with --module, and save the model again"
        )


def count_layers(path: Path, config: Any) -> int:
    """About how many layers a configuration has: its objects with a configuration of their own, and a name in it.

    Raises:
        ModelFileError: They are more than any model has.
    """
    inner = (item.get("config") for item in _objects(config) if "class_name" in item)
    count = sum(isinstance(one, dict) and "name" in one for one in inner)
    if count > MOST_LAYERS:
        raise ModelFileError(f"{path}: its configuration has {count:,} layers, and at most {MOST_LAYERS:,} are built")
    return count


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a configuration, from the outside in. Not recursive: a file may nest as deep as it likes."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _is_code(item: dict[str, Any]) -> bool:
    """Whether this is a lambda given as an activation: its code, defaults and closure, without a class name.

    A tensor that is handed to a layer as its argument `value` is a name and two numbers.
    """
    value = item.get("value")
    if item.keys() != {"value"} or not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        return False
    return not (type(value[1]) is int and type(value[2]) is int)
