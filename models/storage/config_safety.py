"""A model's configuration as plain JSON: what in it is Python code, found before anything is built from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinned.models.errors import ModelFileError

__all__ = ["refuse_lambdas"]


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
