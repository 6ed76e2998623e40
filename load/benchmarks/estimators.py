"""Ways to compute a mean and a variance over N dropout passes: the engine, loops over Keras, and a lower bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from thinned.models.dropout import MonteCarloRun, StochasticModel, complete
from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.noise.draws import DrawnNoise
from thinned.models.dropout.noise.noise_context import Call, Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.sampling import BLOCK, Sampling

__all__ = [
    "Estimator",
    "ReadySummary",
    "compiled_loop",
    "eager_loop",
    "engine_predict",
    "engine_summary",
    "graph_loop",
    "keras_predict",
    "lower_bound",
    "tiled_batch",
]

Tensor = Any
Estimator = Callable[[np.ndarray, int], Any]
"""Called with rows (B, *input_shape) and the number of passes N; gives mean and variance, if it computes them."""


def engine_summary(
    model: StochasticModel, sampling: Sampling = "stratified", row_passes: int | None = None
) -> Estimator:
    """Mean and variance by the engine, as `/predict_mc` computes them.

    Args:
        model: A model of one input and one output.
        sampling: How passes relate to each other.
        row_passes: Rows x passes computed at once; by default the model's own.
    """
    name = model.inputs[0].name

    def run(x: np.ndarray, n: int) -> Any:
        found = model.summary({name: x}, n_samples=n, seed=1, sampling=sampling, row_passes=row_passes)
        (statistics,) = found.values()
        return statistics.mean, statistics.variance

    return run


class ReadySummary:
    """The same for a seed that is not named: its noise was drawn ahead, by `refill`, which is not timed.

    Args:
        model: A model of one input and one output.
    """

    def __init__(self, model: StochasticModel) -> None:
        self._model, self._ahead = model, model.draws_ahead()
        self._noise: DrawnNoise | None = None

    def refill(self, x: np.ndarray, n: int) -> None:
        """Have noise for a call of these rows and passes, as a service has that rested before."""
        in_one_call = len(x) * n <= self._model.row_passes
        self._noise = None
        while self._ahead is not None and self._noise is None:
            self._noise = self._ahead.take(n if in_one_call else min(n, BLOCK))
            if self._noise is None:
                if not self._ahead.wanted:
                    return
                while self._ahead.wanted:
                    self._ahead.fill()

    def __call__(self, x: np.ndarray, n: int) -> Any:
        """Mean and variance."""
        model, noise = self._model, self._noise
        (name,), outputs = [spec.name for spec in model.inputs], [spec.name for spec in model.outputs]
        run = MonteCarloRun(
            {name: x},
            outputs,
            row_passes=model.row_passes,
            n_samples=n,
            seed=1 if noise is None else noise.seed,
            exact=model.needs_no_pass("best", keep_passes=False),
        )
        run.noise = noise
        (statistics,) = complete(run, model).statistics().values()
        return statistics.mean, statistics.variance


def engine_predict(model: StochasticModel) -> Estimator:
    """The deterministic answer by the engine, whatever N is."""
    name = model.inputs[0].name
    return lambda x, n: model.predict({name: x})


def keras_predict(keras_model: Any) -> Estimator:
    """The deterministic answer by `tf.function(model)`, whatever N is."""
    call = tf.function(lambda x: keras_model(x, training=False), input_signature=[_rows(keras_model)])
    return lambda x, n: call(x).numpy()


def eager_loop(keras_model: Any) -> Estimator:
    """A Python loop over `model(x, training=True)`."""

    def run(x: np.ndarray, n: int) -> Any:
        passes = np.stack([keras_model(x, training=True).numpy() for _ in range(n)])
        return passes.mean(axis=0), passes.var(axis=0, ddof=1)

    return run


def compiled_loop(keras_model: Any) -> Estimator:
    """A Python loop over the compiled call `tf.function(model)(x, training=True)`."""
    call = tf.function(lambda x: keras_model(x, training=True), input_signature=[_rows(keras_model)])

    def run(x: np.ndarray, n: int) -> Any:
        passes = np.stack([call(x).numpy() for _ in range(n)])
        return passes.mean(axis=0), passes.var(axis=0, ddof=1)

    return run


def graph_loop(keras_model: Any) -> Estimator:
    """A loop inside one `tf.function`, in which TensorFlow runs up to ten passes in parallel: the fastest loop."""

    @tf.function(input_signature=[_rows(keras_model), tf.TensorSpec([], tf.int32)], autograph=False)
    def loop(x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        def body(i: Tensor, passes: Any) -> tuple[Tensor, Any]:
            return i + 1, passes.write(i, keras_model(x, training=True))

        passes = tf.TensorArray(tf.float32, size=n)
        _, passes = tf.while_loop(lambda i, _: i < n, body, (tf.constant(0), passes))
        return _moments(passes.stack())

    return lambda x, n: [part.numpy() for part in loop(x, tf.constant(n))]


def tiled_batch(keras_model: Any) -> Estimator:
    """One call on a batch in which every row is repeated N times."""

    @tf.function(input_signature=[_rows(keras_model), tf.TensorSpec([], tf.int32)], autograph=False)
    def batch(x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        out = keras_model(tf.repeat(x, n, axis=0), training=True)
        return _moments(tf.transpose(tf.reshape(out, [tf.shape(x)[0], n, -1]), [1, 0, 2]))

    return lambda x, n: [part.numpy() for part in batch(x, tf.constant(n))]


def lower_bound(model: StochasticModel) -> Estimator:
    """The arithmetic that any way of drawing passes needs: the prefix on B rows, the suffix on B x N, without dropout.

    It is compiled and called as a `tf.function`, and gives the raw outputs, without their mean and variance.
    """
    graphs = model.graphs
    providers: list[_NoiseLeftOut] = []

    def body(head: Tensor, *inputs: Tensor) -> list[Tensor]:
        rows, count, seed, first = (head[i : i + 1] for i in range(4))
        context = NoiseContext(
            RandomWords(seed),
            first=first,
            count=tf.cast(count[0], tf.int32),
            rows=tf.cast(rows[0], tf.int32),
            sampling="independent",
            layouts={},
        )
        for provider in providers:
            provider.context = context
        return graphs.runner.suffix(context, graphs.runner.prefix(inputs))

    def provider_of(source: SiteLayer) -> _NoiseLeftOut:
        providers.append(_NoiseLeftOut())
        return providers[-1]

    signature = [tf.TensorSpec([4], tf.int64), *graphs.signature.tensors]
    with patched(graphs.model, [site.source for site in graphs.sites.active], provider_of):
        function = tf.function(body, input_signature=signature, autograph=False)
        function.get_concrete_function()
    return lambda x, n: [part.numpy() for part in function(tf.constant(run_arguments(len(x), n, 0, 0)), x)]


class _NoiseLeftOut:
    """The `NoiseProvider` of a site that repeats its input for every pass and draws nothing."""

    context: NoiseContext

    def draw(self, x: Tensor, noise_shape: Any = None) -> Draw:
        return _RepeatOnly(self.context)

    def record_call(self, training: bool | None) -> None:
        pass

    def narrow(self) -> bool:
        return not self.context.wide


class _RepeatOnly(Draw):
    """A draw whose noise is left out: every method gives `x` itself, once for each pass."""

    def __init__(self, context: NoiseContext) -> None:
        # As wide: then `inverted_dropout` would scale the mask, which is not drawn here, and leaves `x` as it is.
        super().__init__(context, Call(0, 0), wide=True)
        self._repeat = (lambda x: x) if context.wide else context.widen

    def drop(self, x: Tensor, rate: float, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._repeat(x)

    def identity(self, x: Tensor) -> Tensor:
        return self._repeat(x)


def _moments(passes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sample variance (ddof=1) over the first axis."""
    count = tf.cast(tf.shape(passes)[0], tf.float32)
    mean, variance = tf.nn.moments(passes, axes=[0])
    return mean, variance * count / (count - 1)


def _rows(keras_model: Any) -> tf.TensorSpec:
    """The model's input with any number of rows."""
    return tf.TensorSpec([None, *keras_model.inputs[0].shape[1:]], keras_model.inputs[0].dtype)
