"""Keras building a model from a file that nobody knows: within the weights that the file holds, and within a time."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinned.models.errors import ModelFileError
from thinned.models.storage.limits import allowed_elements, allowed_seconds, free_bytes, size_text

__all__ = ["bounded_building", "refuse_wide_layers"]

_building = threading.RLock()
_LEAST_ROWS = 8
"""Rows of a layer's output that must fit the free memory: three are tried, and there are other tensors beside it."""


class _TimeIsUpError(BaseException):
    """No `Exception`, which Keras may catch."""


@contextmanager
def bounded_building(path: Path, *, weights_bytes: int, layers: int) -> Iterator[None]:
    """Have Keras build the model of a file, and load its weights, in bounds.

    Each weight is counted before it is made. The time is limited where this is the main thread of a POSIX system, as in
    a command; a service loads what a command has imported.

    Args:
        path: The file, for messages.
        weights_bytes: What the file declares for its weights.
        layers: About how many layers its configuration has.

    Raises:
        ModelFileError: The configuration asks for far more weights than the file holds, or it takes too long.
    """
    # Not before: refusing a file takes no TensorFlow.
    from thinned.models.compat.keras import sequentials_built_once

    seconds = allowed_seconds(weights_bytes, layers)
    try:
        with _building, _weights_within(path, weights_bytes), sequentials_built_once(), _within(seconds):
            yield
    except _TimeIsUpError:
        raise ModelFileError(
            f"{path}: Keras did not build the model within {seconds:.0f} s, which is many times what a model of "
            f"{layers} layers takes; save it again as fewer or larger layers"
        ) from None


@contextmanager
def _weights_within(path: Path, weights_bytes: int) -> Iterator[None]:
    """Count the numbers that layers ask for, and refuse before the first that the file cannot hold."""
    import keras

    most = allowed_elements(weights_bytes)
    add_weight: Any = keras.layers.Layer.add_weight
    asked = 0
    refusals: list[ModelFileError] = []

    def counted(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += _size(shape)
        if asked > most:
            refusals.append(
                ModelFileError(
                    f"{path}: its configuration asks for {size_text(4.0 * asked)} of weights or more (the layer "
                    f"{self.name!r}), and the file holds {size_text(weights_bytes)}; save the model again"
                )
            )
            raise refusals[0]
        return add_weight(self, shape, *args, **kwargs)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    except Exception:
        if refusals:  # Keras may have wrapped it
            raise refusals[0] from None
        raise
    finally:
        keras.layers.Layer.add_weight = add_weight
    if refusals:
        raise refusals[0]


def _size(shape: Any) -> int:
    lengths = [shape] if isinstance(shape, int) else shape if isinstance(shape, list | tuple) else []
    return math.prod(int(n) for n in lengths if isinstance(n, int) and n >= 0)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise in here once the time is up."""
    can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not can or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise _TimeIsUpError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refuse_wide_layers(path: Path, model: Any) -> None:
    """Refuse a model one of whose layers answers a single row with more numbers than the memory holds.

    Args:
        path: Its file, for messages.
        model: The model. What a subclassed model does inside its call is not known before it is run.

    Raises:
        ModelFileError: Names the layer.
    """
    from thinned.models.compat.keras import flatten_layers, functional_graph, nodes_in_order

    free = free_bytes()
    graphs = (functional_graph(layer) for layer in flatten_layers(model))
    for node in (node for graph in graphs if graph is not None for node in nodes_in_order(graph)):
        if functional_graph(node.operation) is not None:
            continue  # its own layers are looked at
        size = 4 * max((_size(list(tensor.shape)[1:]) for tensor in node.outputs), default=0)
        if free is not None and _LEAST_ROWS * size > free:
            raise ModelFileError(
                f"{path}: its layer {node.operation.name!r} makes {size_text(size)} of one row, and {size_text(free)} "
                "of memory are free; import it on a larger machine"
            )
