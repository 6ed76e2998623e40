"""Write the functions of a model as ONNX, a file for each: the words of passes are drawn in them by plain integers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from thinned.models.compat.messages import message_of
from thinned.models.compat.tensorflow import replaced_operations
from thinned.models.errors import ExportError
from thinned.models.export.plain_operations import plain_operation
from thinned.models.export.signatures import PASSES, ExportedFunctions

__all__ = ["ONNX_PASSES", "OPSET", "write_onnx"]

ONNX_PASSES = "passes"
"""What the file of statistics is called."""
OPSET = 18
"""The first version of ONNX's operations that can xor integers."""


def write_onnx(functions: ExportedFunctions, folder: Path) -> dict[str, list[str]]:
    """Write `passes.onnx`, `predict.onnx` and `sample.onnx`; of a model without noise `predict.onnx` alone.

    Args:
        functions: What is exported.
        folder: Where to; it is made.

    Returns:
        By name of a file, without its ending, the names of its outputs.

    Raises:
        ExportError: A graph holds what ONNX has nothing for.
    """
    graphs = functions.model.graphs
    functions.model.closed_forms, functions.model.row_passes  # noqa: B018  they run graphs as they are
    with graphs.traced_anew(), replaced_operations(plain_operation):
        plain = functions.model.trace_deterministic()
        traced = replace(functions, asserts=False, deterministic=plain).traced()
    folder.mkdir()
    written = {}
    for signature, function in traced.items():
        name = ONNX_PASSES if signature == PASSES else signature
        written[name] = _write(function, folder / f"{name}.onnx")
    return written


def _write(function: Any, path: Path) -> list[str]:
    import onnx
    from tf2onnx import convert

    try:
        with _quiet():
            model, _ = convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    except Exception as error:  # tf2onnx has no errors of its own
        raise ExportError(f"tf2onnx cannot write {path.name}: {message_of(error)}") from error
    concrete = function.get_concrete_function()
    captured = concrete.captured_inputs
    # tf2onnx makes inputs of constants that are in no graph, such as tables of masks.
    known = {place.name: x for place, x in zip(concrete.graph.inputs[-len(captured) :], captured, strict=False)}
    for given in [given for given in model.graph.input if given.name in known]:
        if not (known[given.name].dtype.is_floating or known[given.name].dtype.is_integer):
            raise ExportError(f"{path.name} would need a table of text, which tf2onnx does not write")
        model.graph.input.remove(given)
        if any(given.name in node.input for node in model.graph.node) or _nested(model.graph, given.name):
            model.graph.initializer.append(onnx.numpy_helper.from_array(known[given.name].numpy(), given.name))
    onnx.save(model, str(path))
    return [output.name for output in model.graph.output]


def _nested(graph: Any, name: str) -> bool:
    """Whether a loop or a branch inside of a graph reads a tensor."""
    for node in graph.node:
        for attribute in node.attribute:
            inner = attribute.g
            if inner.node and (any(name in one.input for one in inner.node) or _nested(inner, name)):
                return True
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what tf2onnx logs, and TensorFlow warns of, while it converts."""
    loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
