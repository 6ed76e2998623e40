"""Noise for the passes of a graph under construction, laid over the tensors that meet it.

Tensors in the suffix hold S passes of B rows as S * B rows, pass-major. A mask is drawn once for each pass and shared
by the rows of a request: one pass is one thinned network, and all rows see it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from thinned.models.dropout.noise.draws import Draws, Given
from thinned.models.dropout.noise.factors import Call, Factors, Met
from thinned.models.dropout.noise.laws import inverted_dropout
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.noise.row_layout import (
    ROWS_FIRST,
    RowAxis,
    lengths,
    lengths_behind_rows,
    padded_noise_shape,
    shared_axes,
    tail_of_noise,
)
from thinned.models.dropout.noise.samplers import make_sampler
from thinned.models.sampling import Sampling

__all__ = ["Call", "Draw", "Layout", "NoiseContext"]

Tensor = Any  # tf.Tensor; TensorFlow ships no types that mypy can follow
_POOLED_UNITS = 4096  # a larger mask gains nothing from being drawn with others
_POOL = 1 << 62
_AGAIN = 1 << 10  # further draws of a call are numbered from here on


@dataclass(frozen=True)
class Layout:
    """What is known before a graph is traced of a call of a site.

    Args:
        rows: Where the rows are in the tensor that meets the noise; None where it has none.
        folded: How many positions of one row that axis holds (windows, time steps), mostly 1; None where the number
            varies.
        units: Units of noise in a pass; None where the number varies.
        rate: Probability that a unit is dropped; None where the noise is not of that kind.
    """

    rows: RowAxis | None = ROWS_FIRST
    folded: int | None = None
    units: int | None = None
    rate: float | None = None


class NoiseContext:
    """The passes that a graph is to draw.

    Args:
        words: Where random words come from.
        first: int64 tensor (R,), the index of each request's first pass.
        count: Scalar int32 tensor S, the passes.
        rows: Scalar int32 tensor B, the rows that each pass sees.
        sampling: How passes relate to each other.
        layouts: What is known of the calls that will come. The small masks among them are drawn together, here.
        one_pass: Whether `count` is 1: then noise may also meet tensors that have no rows.
        factors: What is to be done with factors of mean 1; by default all are drawn.
        draws: Where noise comes from that is not drawn in this graph, or what is told of it.
    """

    def __init__(
        self,
        words: RandomWords,
        *,
        first: Tensor,
        count: Tensor,
        rows: Tensor,
        sampling: Sampling,
        layouts: Mapping[Call, Layout],
        one_pass: bool = False,
        factors: Factors | None = None,
        draws: Draws | None = None,
    ) -> None:
        self.one_pass = one_pass
        self.factors = factors or Factors()
        self.count = count
        self.rows = rows
        self._words, self._first, self._sampling = words, first, sampling
        self.draws = draws
        self.row_passes = count * rows
        self.sampler = make_sampler(sampling, words, first, count)
        self.layouts = layouts
        self.wide = False
        self.noisy: list[tuple[Call, Tensor]] = []
        """What came out of each call of a site, (S, B, T, ...): looked at only to see that passes differ, and where
        noise goes."""
        self._calls: Counter[int] = Counter()
        self.pool = {} if isinstance(draws, Given) else self._draw_pool()

    def draw(self, site: int) -> Draw:
        """The noise of one call of site number `site`. A layer applied twice draws twice, as Keras does."""
        call = Call(site, self._calls[site])
        self._calls[site] += 1
        return Draw(self, call, wide=self.wide)

    def noise(self, draw: Callable[[], Tensor]) -> Tensor:
        """What `draw` draws for all passes, or what stands for it: (S, 1, units), or (S, B, units)."""
        return draw() if self.draws is None else self.draws.take(draw, self._first[0], self.count)

    def widen(self, x: Tensor) -> Tensor:
        """Repeat (B * T, ...) for every pass: (S * B * T, ...), pass-major."""
        if self.one_pass:
            return x
        multiples = tf.concat([[self.count], tf.ones([len(x.shape) - 1], tf.int32)], axis=0)
        wide = tf.tile(x, multiples)
        wide.set_shape([None, *x.shape[1:]])
        return wide

    def times(self, times: int) -> NoiseContext:
        """For so many draws of each pass: those of pass s are passes s * times and on of this context.

        Where all rows see the same noise it has one row.
        """
        return NoiseContext(
            self._words,
            first=self._first * times,
            count=self.count * times,
            rows=tf.constant(1) if self._words.owners is None else self.rows,
            sampling=self._sampling,
            layouts={call: replace(layout, rate=None) for call, layout in self.layouts.items()},  # without a pool
            draws=self.draws,
        )

    def _draw_pool(self) -> dict[Call, Tensor]:
        """Draw all small masks at once: a handful of operations for the model, instead of for each site."""
        pooled = {
            call: layout
            for call, layout in self.layouts.items()
            if layout.rate is not None
            and layout.rate < 1
            and layout.units is not None
            and layout.units <= _POOLED_UNITS
        }
        if len(pooled) < 2:
            return {}
        rates = np.concatenate([np.full(layout.units or 0, layout.rate) for layout in pooled.values()])
        # Units have their place in the pool whatever is off; those behind the last that is drawn are not looked up.
        drawn = max((i + 1 for i, call in enumerate(pooled) if call not in self.factors.off), default=0)
        if not drawn:
            return {}
        ends = np.cumsum([layout.units or 0 for layout in pooled.values()])[:drawn].tolist()
        dropped = self.sampler.dropped(_POOL, rates, wanted=ends[-1])
        # Not `tf.split`: GPUs have no kernel that splits booleans.
        parts = [dropped[..., start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return dict(zip(pooled, parts, strict=False))


class Draw:
    """One call of one site, for all passes: what a layer's law (`thinned.models.dropout.noise.laws`) draws from.

    The methods take the tensor `x` that the noise meets and give a tensor shaped like it, with as many rows as the
    suffix has. `noise_shape` follows Keras: one entry an axis of `x`, `None` for "as x", 1 for "shared along this
    axis". The axis of rows is always shared within a pass.
    """

    def __init__(self, context: NoiseContext, call: Call, *, wide: bool, drawn: int = 0) -> None:
        self._context = context
        self._call = call
        self.wide = wide
        """Whether `x` has a row for every row and pass already."""
        self._drawn = drawn

    @property
    def call(self) -> Call:
        """Which call of which site it is."""
        return self._call

    def drop(
        self, x: Tensor, rate: float, combine: Callable[[Tensor, Tensor], Tensor], noise_shape: Any = None
    ) -> Tensor:
        """Apply `combine(x, dropped)`: booleans, independent for each unit, True with probability exactly `rate`."""
        return self._combine(x, noise_shape, lambda units: self._dropped(units, rate), combine)

    def bernoulli(self, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
        """Inverted dropout: units of `x` are zeroed with probability `rate`, survivors multiplied by 1 / (1 - rate)."""
        return inverted_dropout(self, x, rate, noise_shape)

    def multiplied(
        self, x: Tensor, variance: float, law: Callable[[Draw, Tensor], Tensor], noise_shape: Any = None
    ) -> Tensor:
        """What `law(draw, x)` gives, which multiplies units of `x` by independent factors of mean 1 and this variance.

        Where the context says so, the factors stay 1, or the result is given.
        """
        factors = self._context.factors
        if self._call in factors.given:
            after = factors.given[self._call]
        else:
            after = self.identity(x) if self._call in factors.off else law(self, x)
        before = after if self._call in factors.off else self.identity(x)

        def again(times: int) -> Tensor:
            context = self._context.times(times)
            ones = tf.ones([context.rows, *lengths(x)[1:]])
            drawn = law(Draw(context, self._call, wide=False, drawn=_AGAIN), ones) - 1.0
            return tf.reshape(drawn, [self._context.count, times, context.rows, *lengths(drawn)[1:]])

        met = Met(before, after, variance, shared_axes(noise_shape, x.shape), again)
        factors.met.setdefault(self._call, []).append(met)
        return after

    def normal(self, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor], noise_shape: Any = None) -> Tensor:
        """Apply `combine(x, z)`, where z is standard normal, independent for each unit."""
        sampler = self._context.sampler
        return self._combine(
            x,
            noise_shape,
            lambda units: sampler.normals(self._stream(), units),
            lambda a, z: combine(a, tf.cast(z, a.dtype)),
        )

    def uniform(self, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor], noise_shape: Any = None) -> Tensor:
        """Apply `combine(x, u)`, where u is uniform on (0, 1), independent for each unit."""
        sampler = self._context.sampler
        return self._combine(
            x,
            noise_shape,
            lambda units: sampler.uniforms(self._stream(), units),
            lambda a, u: combine(a, tf.cast(u, a.dtype)),
        )

    def fill(self, kind: str, shape: Tensor) -> Tensor:
        """Random numbers of a shape that a layer asks for, which holds the rows of every pass; float32.

        Args:
            kind: "normal" for standard normal numbers; any other for uniform ones on (0, 1).
            shape: Integer tensor: lengths of all axes. Rows share the numbers of a pass.
        """
        context, sampler = self._context, self._context.sampler
        take = sampler.normals if kind == "normal" else sampler.uniforms
        known = tf.get_static_value(shape, partial=True)
        static = [None if n is None else int(n) for n in known] if known is not None else [None] * shape.shape[0]
        dims = [shape[i] if n is None else n for i, n in enumerate(static)]
        rows = context.layouts.get(self._call, Layout()).rows
        if rows is None:
            if not context.one_pass:
                raise RuntimeError("noise without rows in a graph of several passes")
            numbers = tf.reshape(context.noise(lambda: take(self._stream(), _product(dims))), dims)
            context.noisy.append((self._call, numbers))
            return numbers
        folded = dims[rows.axis] // context.row_passes
        tail = [*dims[: rows.axis], *dims[rows.axis + 1 :]]
        units = _product([folded, *tail])
        drawn = tf.broadcast_to(
            context.noise(lambda: take(self._stream(), units)), [context.count, context.rows, units]
        )
        laid = tf.reshape(drawn, [context.row_passes * folded, *tail])
        laid.set_shape([None, *static[: rows.axis], *static[rows.axis + 1 :]])
        context.noisy.append((self._call, laid))
        return rows.rows_back(laid, context.row_passes)

    def identity(self, x: Tensor) -> Tensor:
        """`x` for every pass, without noise; its rows are where they are in what meets the noise."""
        context, axis = self._context, self._context.layouts.get(self._call, Layout()).rows
        if self.wide or axis is None:
            return x
        return axis.rows_back(context.widen(axis.rows_first(x, context.rows)), context.row_passes)

    def _combine(
        self,
        x: Tensor,
        noise_shape: Any,
        draw: Callable[[Tensor], Tensor],
        combine: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Lay `x` out as (S or 1, B, T, ...), the noise as (S, 1 or B, T or 1, ...), and combine them by broadcasting.

        T is 1 unless layers before folded another axis into the rows (windows, time steps): such positions belong to
        one row, and as in Keras each has its own noise. Meeting the narrow (1, B, ...) saves a copy of x for each pass.
        """
        context = self._context
        layout = context.layouts.get(self._call, Layout())
        if layout.rows is None:
            return self._combine_rowless(x, noise_shape, draw, combine)
        rows = context.row_passes if self.wide else context.rows
        moved = layout.rows.rows_first(x, rows)
        noise_shape = layout.rows.reorder(noise_shape, len(x.shape))
        shape = lengths_behind_rows(moved)
        folded: Any = tf.shape(moved)[0] // rows if layout.folded is None else layout.folded
        shared, noise_tail = tail_of_noise(noise_shape, shape)
        noise_dims = [1 if shared else folded, *noise_tail]
        noise = context.noise(lambda: draw(_product(noise_dims)))
        owners = context.rows if noise.shape[1] is None else noise.shape[1]
        plain = isinstance(folded, int) and folded == 1
        if plain:  # nothing is folded: an axis less
            noise = tf.reshape(noise, [context.count, owners, *noise_tail])
            laid = tf.reshape(moved, [context.count if self.wide else 1, context.rows, *shape[1:]])
        else:
            noise = tf.reshape(noise, [context.count, owners, *noise_dims])
            laid = tf.reshape(moved, [context.count if self.wide else 1, context.rows, folded, *shape[1:]])
        noisy = combine(laid, noise)
        context.noisy.append((self._call, noisy))
        out = tf.reshape(noisy, [context.row_passes if plain else context.row_passes * folded, *shape[1:]])
        out.set_shape([None, *moved.shape[1:]])
        return layout.rows.rows_back(out, context.row_passes)

    def _combine_rowless(
        self,
        x: Tensor,
        noise_shape: Any,
        draw: Callable[[Tensor], Tensor],
        combine: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Combine a tensor without rows, a kernel or a table, with the noise of the one pass that is drawn."""
        if not self._context.one_pass:
            raise RuntimeError("noise meets a tensor without rows in a graph of several passes")
        shape = lengths(x)
        padded = padded_noise_shape(noise_shape, len(shape))
        dims = [full if n is None else n for n, full in zip(padded, shape, strict=True)]
        noisy = combine(x, tf.reshape(self._context.noise(lambda: draw(_product(dims))), dims))
        self._context.noisy.append((self._call, noisy))
        noisy.set_shape(x.shape)
        return noisy

    def _dropped(self, units: Tensor, rate: float) -> Tensor:
        if self._drawn == 0 and self._call in self._context.pool:
            self._drawn += 1
            return self._context.pool[self._call]
        return self._context.sampler.dropped_alike(self._stream(), rate, units)

    def _stream(self) -> int:
        """A number of its own for each time that a call draws."""
        stream = self._call.site << 20 | self._call.n | self._drawn << 44
        self._drawn += 1
        return stream


def _product(dims: list[Any]) -> Any:
    known = math.prod(n for n in dims if isinstance(n, int))
    unknown = [n for n in dims if not isinstance(n, int)]
    return math.prod(unknown, start=known) if unknown else known
