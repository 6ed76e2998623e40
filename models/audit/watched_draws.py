"""Draws that note what they drew and what it did to the tensor that met them, with a switch for each site."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from thinned.models.dropout.noise.noise_context import Call, Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.sites.custom_noise import is_registered
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import NoiseShape, RandomKind, SiteLayer

__all__ = ["Note", "SiteCounts", "WatchedContext", "WatchingNoise", "draw_alone"]

Tensor = Any
_LEAST = {tf.float16: 1e-4}
"""Numbers that are sure to have a full mantissa, by type."""


@dataclass(frozen=True)
class SiteCounts:
    """What one call of a site did, counted over all passes.

    `units` is the length of one pass's mask, `drawn` how many units were drawn in all and `dropped` how many of these
    fell. Of the numbers that were not 0 before the site, `kept` survived, `zeroed` did not, and `scale_error` is the
    largest |out / in * (1 - rate) - 1| of a survivor. `spread` is the standard deviation of Gaussian noise, which for
    `GaussianDropout` is that of out / in. What does not apply is 0. `asked` is the rate that the draw was asked for;
    None where it does not drop, or where the rate is known only at run time.
    """

    site: int
    units: int
    drawn: int
    dropped: int
    kept: int
    zeroed: int
    scale_error: float
    spread: float
    asked: float | None = None

    @classmethod
    def of(cls, site: int, values: Sequence[Any], asked: float | None) -> SiteCounts:
        """From the values of a note's parts."""
        units, drawn, dropped, kept, zeroed = (int(value) for value in values[:5])
        scale_error, spread = (float(value) for value in values[5:])
        return cls(site, units, drawn, dropped, kept, zeroed, scale_error, spread, asked)

    @classmethod
    def of_pieces(cls, pieces: Sequence[SiteCounts], *, same_draw: bool) -> SiteCounts:
        """One call of a site that was made in pieces.

        Args:
            pieces: Of the same call.
            same_draw: Whether they are rows of the same passes, which share what is drawn; else they are other passes.
        """
        first = pieces[0]
        drawn = sum(piece.drawn for piece in pieces)
        mean_square = sum(piece.drawn * piece.spread**2 for piece in pieces) / max(drawn, 1)
        return cls(
            first.site,
            first.units,
            first.drawn if same_draw else drawn,
            first.dropped if same_draw else sum(piece.dropped for piece in pieces),
            sum(piece.kept for piece in pieces),
            sum(piece.zeroed for piece in pieces),
            max(piece.scale_error for piece in pieces),
            math.sqrt(mean_square),
            first.asked,
        )


class Note(NamedTuple):
    """What one call of site `number` leaves in the graph: the tensors that `SiteCounts` is made of."""

    number: int
    parts: list[Tensor]
    asked: float | None


def draw_alone(site: int, source: SiteLayer, shape: Sequence[int], *, n_samples: int, seed: int) -> SiteCounts | None:
    """Masks of a site outside its model, on ones: what it draws there is what it draws inside, by the same code.

    Args:
        site: Its place among the active sites.
        source: The site; None is returned for one that does not draw in the call of its layer.
        shape: Of a pass's mask for one row.
        n_samples: Passes.
        seed: In [0, 2**53).
    """
    provider = WatchingNoise(site, source)
    patches = source.patches(provider)
    if set(patches) != {"call"} or not source.drops:
        return None
    provider.context = WatchedContext(
        RandomWords(tf.constant([seed], tf.int64), None),
        first=tf.constant([0], tf.int64),
        count=tf.constant(n_samples),
        rows=tf.constant(1),
        sampling="stratified",
        layouts={},
    )
    provider.flag = tf.constant(True)
    patches["call"](tf.ones([1, *shape], source.layer.compute_dtype), training=False)
    note = provider.context.notes[0]
    return SiteCounts.of(site, note.parts, note.asked)


class WatchingNoise(NoNoise):
    """A `NoiseProvider` whose context notes what is drawn, with a switch."""

    draws = True

    def __init__(self, number: int, source: SiteLayer) -> None:
        self.number = number
        self.source = source
        self.context: WatchedContext | None = None
        self.flag: Tensor = None

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        """A draw that is noted."""
        return None if self.context is None else self.context.watch(self)

    def fill(self, kind: RandomKind, shape: Tensor) -> Tensor:
        """What a random function of the layer asks for; not noted."""
        if self.context is None:
            return super().fill(kind, shape)
        return self.context.draw(self.number).fill(kind, shape)

    def switched(self, noisy: Any, plain: Callable[[], Any]) -> Any:
        """What the switch says."""
        return tf.nest.map_structure(lambda on, off: tf.where(self.flag, on, off), noisy, plain())

    def narrow(self) -> bool:
        """Whether no noise has touched the rows yet."""
        return self.context is not None and not self.context.wide


class WatchedContext(NoiseContext):
    """NoiseContext whose draws are noted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[Note] = []

    def watch(self, provider: WatchingNoise) -> Draw:
        """The next draw of the provider's site."""
        plain = self.draw(provider.number)
        return _WatchedDraw(self, plain.call, provider, wide=plain.wide)


class _WatchedDraw(Draw):
    """A draw that notes its noise and what it did, and gives its input back where its site is switched off.

    A custom layer is switched as a whole, around its call.
    """

    def __init__(self, context: WatchedContext, call: Call, provider: WatchingNoise, *, wide: bool) -> None:
        super().__init__(context, call, wide=wide)
        self._notes = context.notes
        self._switches = not (is_registered(provider.source.layer) or provider.source.own_noise)
        self._provider = provider
        self._noise: Tensor = None
        self._inside = False

    def bernoulli(self, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).bernoulli(x, rate, noise_shape), rate, rate)

    def drop(self, x: Tensor, rate: float, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).drop(x, rate, combine, noise_shape), rate)

    def normal(self, x: Tensor, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).normal(x, combine, noise_shape))

    def uniform(self, x: Tensor, combine: Any, noise_shape: Any = None) -> Tensor:
        return self._watched(x, lambda: super(_WatchedDraw, self).uniform(x, combine, noise_shape))

    def _combine(self, x: Tensor, noise_shape: Any, draw: Any, combine: Any) -> Tensor:
        def keep(units: Tensor) -> Tensor:
            self._noise = draw(units)
            return self._noise

        return super()._combine(x, noise_shape, keep, combine)

    def _watched(
        self, x: Tensor, apply: Callable[[], Tensor], rate: float | None = None, scaled: float | None = None
    ) -> Tensor:
        """Apply a draw; `rate` is that of what it drops, and `scaled` the same where it scales the survivors."""
        if self._inside:  # bernoulli drops by way of `drop`
            return apply()
        self._inside = True
        out = apply()
        self._inside = False
        before = self.identity(x)
        if self._noise is not None:
            asked = float(rate) if isinstance(rate, int | float) else None
            self._notes.append(Note(self._provider.number, self._parts(before, out, scaled), asked))
        return tf.where(self._provider.flag, out, before) if self._switches else out

    def _parts(self, before: Tensor, out: Tensor, rate: float | None) -> list[Tensor]:
        noise, none = self._noise, tf.zeros([], tf.int64)
        fallen = noise if noise.dtype == tf.bool else noise == 0 if rate is not None else tf.zeros_like(noise, tf.bool)
        dropped = tf.math.count_nonzero(fallen)
        counted = [tf.cast(tf.shape(noise)[-1], tf.int64), tf.size(noise, tf.int64), dropped]
        x, y = tf.cast(before, tf.float32), tf.cast(out, tf.float32)
        if rate is not None:
            survived = y != 0.0
            # Numbers near the least of their kind have few digits left, and so has what they are multiplied by.
            there = tf.logical_and(tf.abs(x) >= _LEAST.get(before.dtype, 1e-30), tf.math.is_finite(x))
            kept, zeroed = tf.logical_and(there, survived), tf.logical_and(there, tf.logical_not(survived))
            off = tf.where(
                tf.logical_and(kept, tf.math.is_finite(y)),
                tf.abs(tf.math.divide_no_nan(y, x) * (1.0 - rate) - 1.0),
                0.0,
            )
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
