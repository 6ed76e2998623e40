"""Other ways to get a mean and a variance over passes, and the floor under all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from thinned.models.dropout import BLOCK, StochasticModel
from thinned.models.dropout.compiled_graphs import run_arguments
from thinned.models.dropout.noise.noise_context import Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.uncertainty import BlockMoments

__all__ = ["bare", "compiled_loop", "eager_loop", "floor", "graph_loop", "ours", "tiled"]

Tensor = Any
Answer = Callable[[np.ndarray, int], Any]


def ours(stochastic: StochasticModel, sampling: Any = "stratified", budget: int | None = None) -> Answer:
    """NoiseContext, mean and variance by the engine: what `/predict_mc` computes."""
    (name,) = (spec.name for spec in stochastic.inputs)
    options = {} if budget is None else {"budget": budget}

    def answer(x: np.ndarray, n: int) -> Any:
        pieces: dict[int, BlockMoments] = {}
        for piece in stochastic.summarise({name: x}, n_samples=n, seed=1, sampling=sampling, **options):
            (summary,) = piece.outputs.values()
            moments = pieces.setdefault(piece.rows.start, BlockMoments(BLOCK))
            moments.update(piece.first, piece.counts, summary.mean, summary.deviations)
        return [(moments.mean, moments.variance) for moments in pieces.values()]

    return answer


def bare(model: Any) -> Answer:
    """`tf.function(model)`, as a person would compile a deterministic answer."""
    call = tf.function(lambda x: model(x, training=False), input_signature=[_rows(model)])
    return lambda x, n: call(x).numpy()


def eager_loop(model: Any) -> Answer:
    """What people write: `model(x, training=True)` in a Python loop."""

    def answer(x: np.ndarray, n: int) -> Any:
        passes = np.stack([model(x, training=True).numpy() for _ in range(n)])
        return passes.mean(axis=0), passes.var(axis=0, ddof=1)

    return answer


def compiled_loop(model: Any) -> Answer:
    """The same loop over a compiled call, `tf.function(model)(x, training=True)`."""
    call = tf.function(lambda x: model(x, training=True), input_signature=[_rows(model)])

    def answer(x: np.ndarray, n: int) -> Any:
        passes = np.stack([call(x).numpy() for _ in range(n)])
        return passes.mean(axis=0), passes.var(axis=0, ddof=1)

    return answer


def graph_loop(model: Any) -> Answer:
    """The loop inside one `tf.function`, ten passes at a time as TensorFlow's loops may: the best of the loops."""

    @tf.function(input_signature=[_rows(model), tf.TensorSpec([], tf.int32)], autograph=False)
    def loop(x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        def body(i: Tensor, passes: Any) -> tuple[Tensor, Any]:
            return i + 1, passes.write(i, model(x, training=True))

        passes = tf.TensorArray(tf.float32, size=n)
        _, passes = tf.while_loop(lambda i, _: i < n, body, (tf.constant(0), passes))
        return _moments(passes.stack())

    return lambda x, n: [part.numpy() for part in loop(x, tf.constant(n))]


def tiled(model: Any) -> Answer:
    """Every row repeated N times in one batch."""

    @tf.function(input_signature=[_rows(model), tf.TensorSpec([], tf.int32)], autograph=False)
    def batch(x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        out = model(tf.repeat(x, n, axis=0), training=True)
        return _moments(tf.transpose(tf.reshape(out, [tf.shape(x)[0], n, -1]), [1, 0, 2]))

    return lambda x, n: [part.numpy() for part in batch(x, tf.constant(n))]


def floor(stochastic: StochasticModel) -> Answer:
    """The arithmetic that no way of drawing passes can avoid: the prefix on B rows, the suffix on B x N, no dropout.

    Compiled and called as `tf.function` calls it. It gives the raw outputs, not even their mean.
    """
    graphs = stochastic.graphs
    signature = [tf.TensorSpec([4], tf.int64), *graphs._interface.signature]

    def body(head: Tensor, *inputs: Tensor) -> list[Tensor]:
        rows, count, seed, first = (head[i : i + 1] for i in range(4))
        passes = NoiseContext(
            RandomWords(seed),
            first=first,
            count=tf.cast(count[0], tf.int32),
            rows=tf.cast(rows[0], tf.int32),
            sampling="independent",
            layouts={},
        )
        for site in armed_sites:
            site.passes = passes
        return graphs._program.suffix(passes, graphs._program.prefix(inputs))

    armed_sites: list[_Silent] = []

    def here(source: SiteLayer) -> _Silent:
        armed_sites.append(_Silent())
        return armed_sites[-1]

    with patched(graphs._model, [site.source for site in graphs._survey.active], here):
        function = tf.function(body, input_signature=signature, autograph=False)
        function.get_concrete_function()
    return lambda x, n: [part.numpy() for part in function(tf.constant(run_arguments(len(x), n, 0, 0)), x)]


class _Silent:
    """A site that repeats its input for every pass, and draws nothing."""

    passes: NoiseContext

    def draw(self, x: Tensor, noise_shape: Any = None) -> Draw:
        return _Plain(self.passes, wide=self.passes.wide)

    def seen(self, training: bool | None) -> None:
        pass

    def narrow(self) -> bool:
        return not self.passes.wide


class _Plain(Draw):
    def __init__(self, passes: NoiseContext, *, wide: bool) -> None:
        self._passes = passes
        self._wide = wide

    def bernoulli(self, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
        return self.identity(x)


def _moments(passes: Tensor) -> tuple[Tensor, Tensor]:
    count = tf.cast(tf.shape(passes)[0], tf.float32)
    mean, variance = tf.nn.moments(passes, axes=[0])
    return mean, variance * count / (count - 1)


def _rows(model: Any) -> tf.TensorSpec:
    return tf.TensorSpec([None, *model.inputs[0].shape[1:]], model.inputs[0].dtype)
