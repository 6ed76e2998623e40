"""One graph that runs a model with any of its sites switched on, and notes what each site and normalisation did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.compat.tensorflow import call_concrete
from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.noise.noise_context import Call, Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import NoiseShape, RandomKind, SiteLayer
from thinned.models.dropout.stochastic_model import StochasticModel

__all__ = ["SiteCounts", "Normalised", "Probe", "ProbeRun", "draw_alone"]

Tensor = Any
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SiteCounts:
    """What one call of a site did, counted over all passes.

    `units` is the length of one pass's mask, `drawn` how many units were drawn in all and `dropped` how many of these
    fell. Of the numbers that were not 0 before the site, `kept` survived, `zeroed` did not, and `scale_error` is the
    largest |out / in * (1 - rate) - 1| of a survivor. `spread` is the standard deviation of Gaussian noise, which for
    `GaussianDropout` is that of out / in. What does not apply is 0.
    """

    site: int
    units: int
    drawn: int
    dropped: int
    kept: int
    zeroed: int
    scale_error: float
    spread: float


@dataclass(frozen=True)
class Normalised:
    """Mean and variance by channel of what entered a batch normalisation."""

    path: str
    mean: Array
    variance: Array


@dataclass(frozen=True)
class ProbeRun:
    """What a run gave: passes (S, B, ...) by output name, and what was noted on the way."""

    passes: dict[str, Array]
    counts: tuple[SiteCounts, ...]
    normalised: tuple[Normalised, ...]


class Probe:
    """A model traced once more with a switch at every site.

    Args:
        model: The model.
        paths: Path of each layer by `id`.
    """

    def __init__(self, model: StochasticModel, paths: Mapping[int, str]) -> None:
        self._model = model
        self._paths = paths
        self._sites = model.graphs.sites
        self._order = {site.number: place for place, site in enumerate(self._sites.active)}
        self._notes: list[tuple[int, list[Tensor]]] = []
        self._moments: list[tuple[str, list[Tensor]]] = []
        self._concrete = self._trace()

    @property
    def sites(self) -> int:
        """Active sites, in the order of `StochasticModel.sites`."""
        return len(self._sites.active)

    def run(
        self, inputs: Mapping[str, Array], *, n_samples: int, seed: int, on: Sequence[bool] | None = None
    ) -> ProbeRun:
        """Draw stratified passes, as the service does, with the sites in `on` drawing and the others passing on.

        Args:
            inputs: By input name, (B, *input_shape).
            n_samples: S >= 1.
            seed: In [0, 2**53).
            on: One for each site; all by default.
        """
        flags = np.ones(self.sites, bool) if on is None else np.asarray(on, bool)
        flat = self._model.flat(inputs)
        rows = len(flat[0])
        tensors = call_concrete(self._concrete, [run_arguments(rows, n_samples, seed, 0), flags, *flat])
        arrays = iter([tensor.numpy() for tensor in tensors])
        passes = {
            output.name: (values := next(arrays)).reshape(n_samples, rows, *values.shape[1:])
            for output in self._model.outputs
        }
        counts = []
        for number, parts in self._notes:
            values = [next(arrays) for _ in parts]
            counts.append(
                SiteCounts(self._order[number], *(int(v) for v in values[:5]), *(float(v) for v in values[5:]))
            )
        normalised = tuple(Normalised(path, next(arrays), next(arrays)) for path, _ in self._moments)
        return ProbeRun(passes, tuple(counts), normalised)

    def _trace(self) -> Any:
        providers: list[_Watching] = []
        numbers = self._sites.numbers

        def provider_of(source: SiteLayer) -> NoNoise:
            number = numbers.get(id(source))
            if number is None:
                return NoNoise()
            providers.append(_Watching(number, source))
            return providers[-1]

        def body(head: Tensor, flags: Tensor, *inputs: Tensor) -> list[Tensor]:
            context = _WatchedContext(
                RandomWords(head[2:3], None),
                first=head[3:4],
                count=tf.cast(head[1], tf.int32),
                rows=tf.cast(head[0], tf.int32),
                sampling="stratified",
                layouts=self._sites.layouts,
            )
            for provider in providers:
                provider.context = context
                place = self._order.get(provider.number)
                provider.flag = tf.constant(True) if place is None else flags[place]
            runner = self._model.graphs.runner
            outputs = runner.suffix(context, runner.prefix(inputs))
            graph = tf.compat.v1.get_default_graph()
            # What a loop's body draws belongs to another graph, out of reach from provider.
            self._notes += [(n, parts) for n, parts in context.notes if all(p.graph is graph for p in parts)]
            self._moments[:] = [(p, parts) for p, parts in self._moments if all(t.graph is graph for t in parts)]
            noted = [part for _, parts in (*self._notes, *self._moments) for part in parts]
            return [*outputs, *noted]

        signature = [tf.TensorSpec([4], tf.int64), tf.TensorSpec([self.sites], tf.bool)]
        signature += list(self._model.graphs.signature.tensors)
        with patched(self._model.keras_model, self._sites.sources, provider_of, also=self._watch):
            return tf.function(body, autograph=False).get_concrete_function(*signature)

    def _watch(self, layer: Any) -> Callable[..., Any]:
        """The call of a batch normalisation, which notes the moments of what enters it."""
        call: Callable[..., Any] = layer.call
        if not isinstance(layer, keras.layers.BatchNormalization):
            return call
        path = self._paths.get(id(layer), layer.name)

        def watched(inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
            values = tf.cast(inputs, tf.float32)
            axis = layer.axis % len(values.shape)
            mean, variance = tf.nn.moments(values, [a for a in range(len(values.shape)) if a != axis])
            self._moments.append((path, [mean, variance]))
            return call(inputs, *args, **kwargs)

        return watched


def draw_alone(site: int, source: SiteLayer, shape: Sequence[int], *, n_samples: int, seed: int) -> SiteCounts | None:
    """Masks of a site outside its model, on ones: what it draws there is what it draws inside, by the same code.

    Args:
        site: Its place among the active sites.
        source: The site; None is returned for one that does not draw in the call of its layer.
        shape: Of a pass's mask for one row.
        n_samples: Passes.
        seed: In [0, 2**53).
    """
    provider = _Watching(site, source)
    patches = source.patches(provider)
    if set(patches) != {"call"} or not source.drops:
        return None
    provider.context = _WatchedContext(
        RandomWords(tf.constant([seed], tf.int64), None),
        first=tf.constant([0], tf.int64),
        count=tf.constant(n_samples),
        rows=tf.constant(1),
        sampling="stratified",
        layouts={},
    )
    provider.flag = tf.constant(True)
    patches["call"](tf.ones([1, *shape], source.layer.compute_dtype), training=False)
    (_, values) = provider.context.notes[0]
    counted = [int(value) for value in values[:5]]
    return SiteCounts(site, *counted, *(float(value) for value in values[5:]))


class _Watching(NoNoise):
    """A `NoiseProvider` whose context notes what is drawn, with a switch."""

    draws = True

    def __init__(self, number: int, source: SiteLayer) -> None:
        self.number = number
        self.source = source
        self.context: _WatchedContext | None = None
        self.flag: Tensor = None

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None if self.context is None else self.context.watch(self)

    def fill(self, kind: RandomKind, shape: Tensor) -> Tensor:
        if self.context is None:
            return super().fill(kind, shape)
        return self.context.draw(self.number).fill(kind, shape)

    def switched(self, noisy: Any, plain: Callable[[], Any]) -> Any:
        return tf.nest.map_structure(lambda on, off: tf.where(self.flag, on, off), noisy, plain())

    def narrow(self) -> bool:
        return self.context is not None and not self.context.wide


class _WatchedContext(NoiseContext):
    """NoiseContext whose draws are noted: by site number, the tensors that `SiteCounts` is made of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[tuple[int, list[Tensor]]] = []

    def watch(self, provider: _Watching) -> Draw:
        plain = self.draw(provider.number)
        return _WatchedDraw(self, plain.call, provider, wide=plain.wide)


class _WatchedDraw(Draw):
    """A draw that notes its noise and what it did, and gives its input back where its site is switched off."""

    def __init__(self, context: _WatchedContext, call: Call, provider: _Watching, *, wide: bool) -> None:
        super().__init__(context, call, wide=wide)
        self._notes = context.notes
        self._provider = provider
        self._noise: Tensor = None
        self._inside = False

    def bernoulli(self, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).bernoulli(x, rate, noise_shape), rate)

    def drop(self, x: Tensor, rate: float, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).drop(x, rate, combine, noise_shape), None)

    def normal(self, x: Tensor, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).normal(x, combine, noise_shape), None)

    def uniform(self, x: Tensor, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).uniform(x, combine, noise_shape), None)

    def _combine(self, x: Tensor, noise_shape: Any, draw: Any, combine: Any) -> Tensor:
        def keep(units: Tensor) -> Tensor:
            self._noise = draw(units)
            return self._noise

        return super()._combine(x, noise_shape, keep, combine)

    def _watched(self, x: Tensor, apply: Callable[[], Tensor], rate: float | None) -> Tensor:
        if self._inside:  # bernoulli drops by way of `drop`
            return apply()
        self._inside = True
        out = apply()
        self._inside = False
        before = self.identity(x)
        if self._noise is not None:
            self._notes.append((self._provider.number, self._note(before, out, rate)))
        return tf.where(self._provider.flag, out, before)

    def _note(self, before: Tensor, out: Tensor, rate: float | None) -> list[Tensor]:
        noise, none = self._noise, tf.zeros([], tf.int64)
        fallen = noise if noise.dtype == tf.bool else noise == 0 if rate is not None else tf.zeros_like(noise, tf.bool)
        dropped = tf.math.count_nonzero(fallen)
        counted = [tf.cast(tf.shape(noise)[-1], tf.int64), tf.size(noise, tf.int64), dropped]
        x, y = tf.cast(before, tf.float32), tf.cast(out, tf.float32)
        if rate is not None:
            survived = y != 0.0
            there = tf.logical_and(x != 0.0, tf.math.is_finite(x))
            kept, zeroed = tf.logical_and(there, survived), tf.logical_and(there, tf.logical_not(survived))
            off = tf.where(kept, tf.abs(tf.math.divide_no_nan(y, x) * (1.0 - rate) - 1.0), 0.0)
            lost = [tf.math.count_nonzero(kept), tf.math.count_nonzero(zeroed), tf.reduce_max(off)]
            return [*counted, *lost, tf.zeros([])]
        return [*counted, none, none, tf.zeros([]), self._spread(x, y)]

    def _spread(self, x: Tensor, y: Tensor) -> Tensor:
        """Standard deviation of Gaussian noise; about its known mean, of which no part is lost."""
        kind = self._provider.source.kind
        if kind == "GaussianNoise":
            return tf.sqrt(tf.reduce_mean(tf.square(y - x)))
        if kind == "GaussianDropout":
            there = x != 0.0
            square = tf.where(there, tf.square(tf.math.divide_no_nan(y, x) - 1.0), 0.0)
            return tf.sqrt(tf.math.divide_no_nan(tf.reduce_sum(square), tf.reduce_sum(tf.cast(there, tf.float32))))
        return tf.zeros([])
