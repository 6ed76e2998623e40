"""TensorFlow's first import without its greeting, which it writes to file descriptor 2 before any log level counts."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["import_tensorflow"]


def import_tensorflow() -> None:
    """Import TensorFlow and Keras; what they print on the way is shown only if the import fails."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    if "tensorflow" in sys.modules:
        return
    with _held_stderr():
        import keras
        import tensorflow as tf

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
