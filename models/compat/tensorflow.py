"""What is worked around of TensorFlow 2.21, and the private names that this takes; each has its reason.

`tests/models/compat/test_tensorflow.py` fails when one of these is no longer needed, or is gone.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = [
    "as_tensor",
    "call_concrete",
    "floating_point_operations",
    "import_tensorflow",
    "replaced_operations",
    "runs_once",
]


def call_concrete(concrete: Any, args: Sequence[Any]) -> list[Any]:
    """Call a concrete function on its flat arguments, arrays or tensors.

    Its own call binds them to its signature, which takes as long as a small network. `_inference_function` goes past
    that; where it is gone, the public call is used. Arrays are read where they lie: whatever the function gives may
    share their memory, until they are copied.
    """
    import tensorflow as tf

    tensors = [arg if isinstance(arg, tf.Tensor) else as_tensor(arg) for arg in args]
    inner = getattr(getattr(concrete, "_inference_function", None), "call_preflattened", None)
    if inner is None:
        return list(concrete(*tensors))
    return list(inner(tensors + concrete.captured_inputs))


def as_tensor(array: Any) -> Any:
    """A tensor in the memory of the processor that shares that of the array, where it may.

    `tf.constant` runs an operation, `_EagerConst`, to copy it, which takes ten times as long, and as long as a layer of
    a small network. Nothing public leaves that out but `dlpack`, which takes neither text nor arrays that are
    read-only. Where the private class is gone, `tf.constant` is used.
    """
    import tensorflow as tf
    from tensorflow.python.framework import ops

    eager = getattr(ops, "EagerTensor", None)
    if eager is None or not tf.executing_eagerly():
        return tf.constant(array)
    return eager(array, None, None)


def floating_point_operations(graph: Any) -> int:
    """Operations that TensorFlow's profiler counts in a traced graph.

    The profiler has no newer name than `compat.v1`, whose deprecation warning is silenced by a private name.
    """
    import tensorflow as tf
    from tensorflow.python.util import deprecation

    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    with deprecation.silence():
        profile = tf.compat.v1.profiler.profile(graph, options=options)
    return int(profile.total_float_ops) if profile else 0


def runs_once(graph: Any, within: Any) -> bool:
    """Whether what stands in `graph` runs once at most in a run of `within`: it is that graph, or a branch in it.

    The body of a loop, of a map and of a `tf.function` is traced once and may run often. That a graph is a branch of a
    condition only its class tells, which has no public name.
    """
    from tensorflow.python.ops.control_flow_v2_func_graphs import CondBranchFuncGraph

    while graph is not within:
        if not isinstance(graph, CondBranchFuncGraph):
            return False
        graph = graph.outer_graph
    return True


Replacement = Callable[[str, Sequence[Any], Any], Any]


@contextmanager
def replaced_operations(replace: Replacement) -> Iterator[None]:
    """Have a tensor stand for an operation that is about to be added to any graph, by this thread.

    `_create_op_internal` is where every operation of a function's graph is made; there is no public place where one can
    be replaced, and replacing Python functions would miss those that a module has imported by name.

    Args:
        replace: Given the operation's type, inputs and attributes: the tensor that stands for its only output, or None
            to leave it.
    """
    import tensorflow as tf
    from tensorflow.python.framework.func_graph import FuncGraph

    original = FuncGraph._create_op_internal
    thread = threading.get_ident()

    def create(graph: Any, op_type: str, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            tensor = replace(op_type, inputs, kwargs.get("attrs"))
            if tensor is not None:
                return tf.identity(tensor).op
        return original(graph, op_type, inputs, *args, **kwargs)

    FuncGraph._create_op_internal = create
    try:
        yield
    finally:
        FuncGraph._create_op_internal = original


def import_tensorflow() -> None:
    """Import TensorFlow and Keras without their greeting; what they print is shown only if the import fails.

    TensorFlow writes it to file descriptor 2 before any log level counts. What it does with a GPU is set as well, but
    where it has been imported before, that is left to whoever did so.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    if "tensorflow" in sys.modules:
        return
    # Else the first process takes all memory of the GPU, and a second worker or `thinned import` finds none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Else cuDNN may pick kernels that add in another order each time, and no answer repeats bit for bit: a network with
    # a transposed convolution was refused for that (H200, cuDNN 9.3).
    os.environ.setdefault("TF_CUDNN_DETERMINISTIC", "1")
    with _held_stderr():
        import keras
        import tensorflow as tf

        # By default newer GPUs round the factors of float32 products to 10 bits (TensorFloat-32), which is 5e-4 of a
        # number; the laws of passes allow 1e-4.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        # The first kernel wakes the devices, which greet in their own turn.
        keras.ops.convert_to_tensor(0.0)
        tf.get_logger().setLevel(logging.ERROR)


@contextmanager
def _held_stderr() -> Iterator[None]:
    """Keep what is written to file descriptor 2; write it out if the body fails."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # There is no stderr to hold.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                held.seek(0)
                os.write(2, held.read())
