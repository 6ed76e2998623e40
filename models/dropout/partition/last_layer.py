"""Mean and variance over the last mask, as closed forms of what meets it.

Behind the last site an output is affine in what comes of it: with h what meets factors m of mean 1 and variance c, it
is b + sum of m_u h_u W_u. Over the factors its mean is b + sum of h_u W_u, and its variance c times the sum, over what
has one factor in common, of squares of their sums of h_u W_u: for plain dropout c (h * h) (W * W).

References:
    Casella & Robert 1996, Rao-Blackwellisation of Sampling Schemes, https://doi.org/10.1093/biomet/83.1.81
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.dropout.noise.factors import Call, Factors, Met
from thinned.models.dropout.noise.noise_context import NoiseContext
from thinned.models.dropout.noise.row_layout import lengths
from thinned.models.sampling import Made

__all__ = ["MORE_MASKS", "ClosedForm", "ClosedForms", "Function"]

Tensor = Any
Function = Literal["softmax", "sigmoid"]
MORE_MASKS = 2
"""Last masks for each pass where a function stands behind the last layer."""
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """How one output hangs on what comes of one call of a site.

    Args:
        call: The call.
        weights: W, (C, K) where each position of the output is made of the units of the same position alone; else
            (U, K), of all units and all numbers of the output.
        variance: c, of a factor.
        shared: Of each axis of what meets the factors, but that of rows, whether all along it have one factor.
        shape: Lengths of the output for one row, where `weights` are of all its numbers; None where they are of each
            position.
        units: Lengths of what meets the factors, for one row; of use with `shape` alone.
    """

    call: Call
    weights: Array
    variance: float
    shared: tuple[bool, ...]
    shape: tuple[int, ...] | None = None
    units: tuple[int, ...] = ()

    def change(self, met: Met) -> Tensor:
        """What the factors that were drawn changed of the output, (S * B, ...), float32."""
        return self.through(_single(met.after) - _single(met.before))

    def through(self, units: Tensor) -> Tensor:
        """Units through the weights, (rows, ...), float32."""
        return self._through(_single(units), self.weights)

    def variance_over(self, met: Met) -> Tensor:
        """Variance of the output over the factors, given what meets them; (S * B, ...), float32."""
        before = _single(met.before)
        if self.shape is None:
            together, partly = self.shared[-1], False
        else:
            together, partly = all(self.shared), any(self.shared)
        if together:
            return self.variance * tf.square(self._through(before, self.weights))
        if not partly:
            return self._through(tf.square(before), np.float32(self.variance) * np.square(self.weights))
        return self.variance * self._of_groups(before)

    def _through(self, units: Tensor, weights: Array) -> Tensor:
        if self.shape is None:
            return tf.tensordot(units, tf.constant(weights), 1)
        flat = tf.reshape(units, [-1, len(weights)])
        return tf.reshape(tf.matmul(flat, tf.constant(weights)), [-1, *self.shape])

    def _of_groups(self, units: Tensor) -> Tensor:
        """Squares of the sums of what has one factor in common, and the sum of these over the factors."""
        axes = string.ascii_lowercase[: len(self.units)]
        kept = "".join(axis for axis, shared in zip(axes, self.shared, strict=True) if not shared)
        weights = tf.constant(self.weights.reshape(*self.units, -1))
        sums = tf.einsum(f"z{axes},{axes}y->z{kept}y", tf.reshape(units, [-1, *self.units]), weights)
        squares = tf.reduce_sum(tf.square(sums), axis=list(range(1, 1 + len(kept))))
        return tf.reshape(squares, [-1, *(self.shape or ())])


def _single(tensor: Tensor) -> Tensor:
    return tf.cast(tensor, tf.float32)


@dataclass(frozen=True, eq=False)
class ClosedForms:
    """What is known of a model's outputs without their last masks.

    Args:
        forms: For each output those of the calls of sites behind which it, or what its function takes, is affine; none
            where passes tell it.
        functions: For each output the function behind that, such as a softmax; None for none.
        made: For each output what its mean and variance are made of.
        off: Calls whose factors need not be drawn where no passes are kept.
        reasons: For each output why passes tell it, in words; empty where they do not.
    """

    forms: tuple[tuple[ClosedForm, ...], ...]
    functions: tuple[Function | None, ...]
    made: tuple[Made, ...]
    off: frozenset[Call]
    reasons: tuple[str, ...]

    @classmethod
    def none(cls, outputs: int, why: str) -> ClosedForms:
        """For a model whose every output is told by passes, because of `why`."""
        plain: Made = "passes"
        return cls(((),) * outputs, (None,) * outputs, (plain,) * outputs, frozenset(), (why,) * outputs)

    def __bool__(self) -> bool:
        return any(self.forms)

    def moments(self, targets: Sequence[Tensor], factors: Factors, context: NoiseContext) -> list[Tensor]:
        """For each output that has forms, mean, variance and, of a function, entropy, (S * B, ...) each.

        Args:
            targets: For each output what its function takes.
            factors: What was drawn and what met it.
            context: In which it was drawn.
        """
        found = []
        for target, forms, function in zip(targets, self.forms, self.functions, strict=True):
            if not forms:
                continue
            met = [factors.met[form.call][0] for form in forms]
            drawn = [form.change(m) for form, m in zip(forms, met, strict=True) if form.call not in factors.off]
            mean = tf.cast(target, tf.float32) - (tf.add_n(drawn) if drawn else 0.0)
            if function is None:
                found += [mean, tf.add_n([form.variance_over(m) for form, m in zip(forms, met, strict=True)])]
            else:
                found += _over_more_masks(mean, forms, met, function, context)
        return found


def _over_more_masks(
    mean: Tensor, forms: Sequence[ClosedForm], met: Sequence[Met], function: Function, context: NoiseContext
) -> list[Tensor]:
    """Mean and variance of a function of an affine map over some more last masks for each pass, and mean entropy."""
    times, rows = MORE_MASKS, context.rows
    laid = tf.reshape(mean, [context.count, 1, rows, *lengths(mean)[1:]])
    for form, m in zip(forms, met, strict=True):
        before = tf.reshape(_single(m.before), [context.count, 1, rows, *lengths(m.before)[1:]])
        changed = before * m.again(times)
        change = form.through(tf.reshape(changed, [context.row_passes * times, *lengths(changed)[3:]]))
        laid += tf.reshape(change, [context.count, times, rows, *lengths(mean)[1:]])
    # oneDNN's softmax takes five axes at most: those of passes, masks and rows are one here.
    flat = tf.reshape(laid, [context.row_passes * times, *lengths(mean)[1:]])
    answers = tf.reshape(tf.nn.softmax(flat) if function == "softmax" else tf.sigmoid(flat), tf.shape(laid))
    answers.set_shape([None, times, None, *mean.shape[1:]])
    over = tf.reduce_mean(answers, axis=1)
    spread = tf.reduce_mean(tf.math.squared_difference(answers, over[:, tf.newaxis]), axis=1)
    entropy = tf.reduce_mean(_entropy(answers, function), axis=1)
    return [tf.reshape(x, [context.row_passes, *lengths(x)[2:]]) for x in (over, spread, entropy)]


def _entropy(answers: Tensor, function: Function) -> Tensor:
    """In nats, of the classes on the last axis; of a single sigmoid, of the two that it tells apart."""
    terms = tf.math.xlogy(answers, answers)
    if function == "sigmoid" and answers.shape[-1] == 1:
        terms += tf.math.xlogy(1 - answers, 1 - answers)
    return -tf.reduce_sum(terms, axis=-1)
