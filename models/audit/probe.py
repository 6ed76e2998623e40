"""One graph that runs a model with any of its sites switched on, and notes what each site and normalisation did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.audit.watched_draws import Note, SiteCounts, WatchedContext, WatchingNoise
from thinned.models.compat.tensorflow import call_concrete
from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.sites.custom_noise import is_registered
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.sampling import BLOCK

__all__ = ["Normalised", "Probe", "ProbeRun"]

Tensor = Any
Array = npt.NDArray[Any]


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
    size: int
    """Rows x passes."""

    @classmethod
    def of_pieces(cls, pieces: Sequence[ProbeRun], *, rows: bool) -> ProbeRun:
        """A run that was made in pieces: of other rows of the same passes, or of other passes of the same rows."""
        if len(pieces) == 1:
            return pieces[0]
        sizes = [piece.size for piece in pieces]
        return cls(
            {
                name: np.concatenate([piece.passes[name] for piece in pieces], axis=1 if rows else 0)
                for name in pieces[0].passes
            },
            tuple(
                SiteCounts.of_pieces(counts, same_draw=rows)
                for counts in zip(*(piece.counts for piece in pieces), strict=True)
            ),
            tuple(_joined(parts, sizes) for parts in zip(*(piece.normalised for piece in pieces), strict=True)),
            sum(sizes),
        )


def _joined(parts: Sequence[Normalised], sizes: Sequence[int]) -> Normalised:
    """Moments over all rows and passes from those of pieces."""
    shares = (np.asarray(sizes, np.float64) / sum(sizes))[:, np.newaxis]
    means = np.stack([part.mean for part in parts]).astype(np.float64)
    mean = (shares * means).sum(axis=0)
    within = np.stack([part.variance for part in parts]).astype(np.float64)
    variance = (shares * (within + (means - mean) ** 2)).sum(axis=0)
    return Normalised(parts[0].path, mean.astype(np.float32), variance.astype(np.float32))


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
        self._notes: list[Note] = []
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

        A call computes no more rows x passes than `row_passes` of the model.

        Args:
            inputs: By input name, (B, *input_shape).
            n_samples: S >= 1.
            seed: In [0, 2**53).
            on: One for each site; all by default.
        """
        flags = np.ones(self.sites, bool) if on is None else np.asarray(on, bool)
        flat = self._model.flat(inputs)
        rows, most = len(flat[0]), self._model.row_passes
        block = min(n_samples, BLOCK)
        height = min(rows, max(1, most // block))
        step = max(block, most // height // BLOCK * BLOCK)
        parts = []
        for start in range(0, rows, height):
            part = [array[start : start + height] for array in flat]
            drawn = [
                self._call(part, min(step, n_samples - first), seed, first, flags)
                for first in range(0, n_samples, step)
            ]
            parts.append(ProbeRun.of_pieces(drawn, rows=False))
        return ProbeRun.of_pieces(parts, rows=True)

    def _call(self, flat: Sequence[Array], n_samples: int, seed: int, first: int, flags: Array) -> ProbeRun:
        rows = len(flat[0])
        tensors = call_concrete(self._concrete, [run_arguments(rows, n_samples, seed, first), flags, *flat])
        arrays = iter([tensor.numpy() for tensor in tensors])
        passes = {
            output.name: (values := next(arrays)).reshape(n_samples, rows, *values.shape[1:])
            for output in self._model.outputs
        }
        counts = []
        for note in self._notes:
            values = [next(arrays) for _ in note.parts]
            counts.append(SiteCounts.of(self._order[note.number], values, note.asked))
        normalised = tuple(Normalised(path, next(arrays), next(arrays)) for path, _ in self._moments)
        return ProbeRun(passes, tuple(counts), normalised, rows * n_samples)

    def _trace(self) -> Any:
        providers: list[WatchingNoise] = []
        registered: dict[int, WatchingNoise] = {}
        numbers = self._sites.numbers

        def provider_of(source: SiteLayer) -> NoNoise:
            number = numbers.get(id(source))
            if number is None:
                return NoNoise()
            providers.append(WatchingNoise(number, source))
            if is_registered(source.layer):
                registered[id(source.layer)] = providers[-1]
            return providers[-1]

        def also(layer: Any) -> Callable[..., Any]:
            switched = registered.get(id(layer))
            return self._watch(layer) if switched is None else _switched(layer.call, switched)

        def body(head: Tensor, flags: Tensor, *inputs: Tensor) -> list[Tensor]:
            context = WatchedContext(
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
            # What a loop's body draws belongs to another graph, out of reach from here.
            self._notes += [note for note in context.notes if all(part.graph is graph for part in note.parts)]
            self._moments[:] = [(p, parts) for p, parts in self._moments if all(t.graph is graph for t in parts)]
            counted = [part for note in self._notes for part in note.parts]
            moments = [part for _, parts in self._moments for part in parts]
            return [*outputs, *counted, *moments]

        signature = [tf.TensorSpec([4], tf.int64), tf.TensorSpec([self.sites], tf.bool)]
        signature += list(self._model.graphs.signature.tensors)
        with patched(self._model.keras_model, self._sites.sources, provider_of, also=also):
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


def _switched(call: Callable[..., Any], provider: WatchingNoise) -> Callable[..., Any]:
    """The call of a registered layer with a switch about the whole of it.

    Its noise may do anything to what it meets, so a draw that is left out is not yet the layer without noise.
    """
    off = provider.source.patches(NoNoise())["call"]

    def switched(*args: Any, **kwargs: Any) -> Any:
        drawn, plain = call(*args, **kwargs), off(*args, **kwargs)
        return keras.tree.map_structure(lambda a, b: tf.where(provider.flag, a, b), drawn, plain)

    return switched
