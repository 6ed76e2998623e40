"""The widest tensor of a call is known for rows of any lengths, and no call is made wider than it may be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.serving import ROOT
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.call_memory import CALL_BYTES
from thinned.models.dropout.compiled_graphs import GraphKey, call_model
from thinned.models.errors import OverloadedError

L = keras.layers


def attention() -> Any:
    inputs = keras.Input((None, 8))
    x = L.MultiHeadAttention(2, 4, dropout=0.2)(inputs, inputs)
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(x)))


def images() -> Any:
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(L.Dropout(0.2)(inputs))
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling2D()(L.MaxPooling2D()(L.Conv2D(4, 3)(x)))))


def query_and_mask() -> Any:
    """Two lengths that must agree."""
    inputs, mask = keras.Input((None, 8)), keras.Input((None,), dtype="bool")
    x = L.MultiHeadAttention(2, 4, dropout=0.2)(inputs, inputs, attention_mask=mask[:, None, :])
    return keras.Model([inputs, mask], L.Dense(1)(L.GlobalAveragePooling1D()(x)))


def recurrent() -> Any:
    inputs = keras.Input((None, 3))
    return keras.Model(inputs, L.TimeDistributed(L.Dense(16))(L.LSTM(8, dropout=0.2, return_sequences=True)(inputs)))


MODELS: list[Callable[[], Any]] = [attention, images, query_and_mask, recurrent]


def widest(model: StochasticModel, shapes: dict[str, tuple[int, ...]]) -> int:
    """Bytes of the widest tensor of one row in one pass, counted in the graph at these very lengths."""
    flat = model.flat(model.examples.of_shapes(shapes))
    (sizes,) = model.graphs.run(GraphKey("sizes"), run_arguments(1, 1, 0, 0), *flat)
    return 4 * int(sizes.numpy().max())


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_what_is_foretold_is_what_the_graph_holds(build: Callable[[], Any]) -> None:
    model = enable_mc_dropout(build())
    for length in (9, 40, 100, 250):
        shapes = {
            spec.name: tuple(length + 3 * axis if n is None else n for axis, n in enumerate(spec.shape))
            for spec in model.inputs
        }
        foretold, real = model.row_bytes(shapes), widest(model, shapes)
        assert 0.95 * real <= foretold <= 1.5 * real + 4096, (length, foretold, real)
        assert model.row_passes_for(shapes) * foretold <= CALL_BYTES or model.row_passes_for(shapes) == 1


def test_longer_rows_are_computed_in_smaller_calls() -> None:
    model = enable_mc_dropout(attention())
    (name,) = model.examples.shapes
    counts = [model.row_passes_for({name: (length, 8)}) for length in (32, 512, 2048, 8192)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    # Two heads of 2048 x 2048 scores take 32 MiB a pass: a block of 32 passes would take a gibibyte for them alone.
    assert counts[2] == 4
    calls: list[int] = []
    draw = StochasticModel.draw

    def counted(self: StochasticModel, items: Any, **kwargs: Any) -> Any:
        calls.append(max(item.count for item in items))
        return draw(self, items, **kwargs)

    x = {name: np.ones((1, 1024, 8), np.float32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StochasticModel, "draw", counted)
        (pieces,) = model.summary(x, n_samples=20, seed=1, row_passes=5).values()
    assert calls == [4] * 5
    (whole,) = model.summary(x, n_samples=20, seed=1).values()
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-5)
    np.testing.assert_allclose(pieces.variance, whole.variance, rtol=1e-4)


_PEAK = """
import resource, sys
from tests.models.dropout.test_call_memory import attention
from thinned.models.compat.tensorflow import import_tensorflow
import_tensorflow()
import numpy as np
from thinned.models.dropout import enable_mc_dropout
model = enable_mc_dropout(attention())
(name,) = model.examples.shapes
model.summary(model.examples.rows(1), n_samples=40, seed=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.summary({name: np.ones((1, 2048, 8), np.float32)}, n_samples=32, seed=1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.long
def test_the_peak_of_a_long_row_is_what_is_said_of_a_call() -> None:
    """32 passes of 2,048 positions took 8.3 GB when a length that varies counted as 1."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert int(done.stdout.split()[-1]) < 8 * CALL_BYTES >> 20, done.stdout


def test_a_call_for_which_no_memory_is_left_says_so() -> None:
    """16 TiB of zeros: no machine has them, and what a GPU has is soon taken."""
    call = tf.function(lambda n: tf.fill([n], 0.0), input_signature=[tf.TensorSpec([], tf.int64)])
    with pytest.raises(OverloadedError, match=r"too little memory is left .*OOM when allocating.*; send fewer rows"):
        call_model(call.get_concrete_function(), [np.int64(1 << 42)])
