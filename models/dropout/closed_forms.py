"""Find where the last masks of a model need not be drawn, and prove it on the model itself before it is relied on.

A call of a site is taken where, in the traced graph, only affine operations lie between it and the output. What these
do is then measured: each unit is set to 1 by itself, on an example row. Other numbers on another row, under other
masks of the sites before, must give what was measured; and the masks that are drawn must have, over many passes, the
mean and the variance that the closed form says. An output of which one of these does not hold is told by its passes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.compiled_graphs import CompiledGraphs, GraphKey
from thinned.models.dropout.noise.factors import Call, Met
from thinned.models.dropout.noise.row_layout import ROWS_FIRST
from thinned.models.dropout.partition.affine_reach import Reach, reaches, target_of
from thinned.models.dropout.partition.last_layer import ClosedForm, ClosedForms
from thinned.models.errors import InputError, Problem
from thinned.models.sampling import BLOCK, Made

__all__ = ["find_closed_forms"]

Array = npt.NDArray[Any]
Tensor = Any
MOST_UNITS = 8192
"""Units behind a last site: each takes a row of the model behind it, once, when the model is loaded."""
MOST_WEIGHTS = 1 << 20
CHECKED_PASSES = 1024
CHECKED_S = 1.0
"""Seconds after which no further passes are compared."""
_TOLERANCE = 1e-4
_HALF_TOLERANCE = 3e-2
_MOST_ERRORS = 6.0
_ROUNDING = 1e-2
_LOWEST = 1e-12
NO_SITE = "no site reaches it"
DIFFERENT_ROWS = "its last site meets other rows than those of the request"
NOT_AFFINE = "what follows its last site is not affine, or that site does more than multiply by factors of mean 1"


def find_closed_forms(
    graphs: CompiledGraphs, frontiers: Sequence[Sequence[Tensor]], *, row_passes: int, half: bool
) -> ClosedForms:
    """Closed forms of a model's outputs, proven; they are set as `graphs.closed`.

    Args:
        graphs: The model's graphs.
        frontiers: What the prefix made of two example rows, each by itself.
        row_passes: Rows x passes to compute at once.
        half: Whether the model computes in half precision.
    """
    outputs = len(graphs.output_dtypes)
    if not graphs.sites.active or graphs.sites.rowless:
        why = "noise meets something that all rows share" if graphs.sites.rowless else NO_SITE
        graphs.closed = ClosedForms.none(outputs, why)
        return graphs.closed
    tolerance = _HALF_TOLERANCE if half else _TOLERANCE
    search = _Search(graphs, frontiers, row_passes, tolerance)
    graphs.closed = search.found()
    while graphs.closed:
        try:
            wrong = dict(_broken(graphs, frontiers[0], row_passes, tolerance))
        except InputError:  # no reason to refuse the model: passes tell it
            wrong = {
                i: "its closed form cannot be computed here" for i, forms in enumerate(graphs.closed.forms) if forms
            }
        if not wrong:
            break
        graphs.forget_forms()
        graphs.closed = search.found(without=wrong)
    return graphs.closed


class _Search:
    """The forms of each output that its graph allows and that its tail bears out."""

    def __init__(
        self, graphs: CompiledGraphs, frontiers: Sequence[Sequence[Tensor]], row_passes: int, tolerance: float
    ) -> None:
        self._graphs, self._frontiers = graphs, frontiers
        self._row_passes, self._tolerance = row_passes, tolerance
        graph = graphs.get(GraphKey("suffix")).graph
        context, outputs = graphs.drawn[GraphKey("suffix")]
        noisy = [call for call, _ in context.noisy]
        self._met: dict[Call, Met] = {}
        for call, met in context.factors.met.items():
            layout = context.layouts.get(call)
            if (
                layout
                and layout.rows == ROWS_FIRST
                and layout.folded in (1, None)
                and len(met) == 1 == noisy.count(call)
            ):
                self._met[call] = met[0]
        targets, self._functions = zip(*map(target_of, outputs), strict=True)
        affine = reaches(graph, [met.after for met in self._met.values()], targets)
        others = [(call, tensor) for call, tensor in context.noisy if call not in self._met]
        any_way = reaches(graph, [tensor for _, tensor in others], targets)
        self._reach: list[tuple[Call, list[Reach]]] = [
            *zip(self._met, affine, strict=True),
            *zip([call for call, _ in others], any_way, strict=True),
        ]
        self._reasons = [""] * len(outputs)
        self._forms = [tuple(self._of_output(i)) for i in range(len(outputs))]

    def found(self, without: dict[int, str] | None = None) -> ClosedForms:
        """What was found, but for some outputs and why not for these."""
        for output, why in (without or {}).items():
            self._forms[output], self._reasons[output] = (), why
        made: list[Made] = []
        for output, forms in enumerate(self._forms):
            closed = {form.call for form in forms}
            rest = any(reach[output] != "none" and call not in closed for call, reach in self._reach)
            if not forms or self._functions[output]:
                made.append("more_masks" if forms else "passes")
            else:
                made.append("closed_form" if rest else "exact")
        reasons = ("" if forms else why for forms, why in zip(self._forms, self._reasons, strict=True))
        functions = tuple(f if forms else None for f, forms in zip(self._functions, self._forms, strict=True))
        return ClosedForms(tuple(self._forms), functions, tuple(made), frozenset(self._off()), tuple(reasons))

    def _off(self) -> Iterator[Call]:
        """Calls that no pass needs drawn: what they reach has their form, and no probabilities for a pass to tell."""
        for call, reach in self._reach:
            reached = [i for i, state in enumerate(reach) if state != "none"]
            known = all(any(form.call == call for form in self._forms[i]) for i in reached)
            if reached and known and all(self._functions[i] or not self._graphs.classes[i] for i in reached):
                yield call

    def _of_output(self, output: int) -> Iterator[ClosedForm]:
        reached = [(call, reach[output]) for call, reach in self._reach if reach[output] != "none"]
        affine = [call for call, state in reached if state == "affine" and call in self._met]
        if not affine or not self._graphs.output_dtypes[output].is_floating:
            self._reasons[output] = NOT_AFFINE if reached else NO_SITE
            return
        for call in affine:
            try:
                form = self._measured(output, call)
            except InputError:  # what comes of the site holds other rows than the model's
                form, self._reasons[output] = None, DIFFERENT_ROWS
            if form is not None:
                self._reasons[output] = ""
                yield form

    def _measured(self, output: int, call: Call) -> ClosedForm | None:
        met = self._met[call]
        lengths = tuple(met.after.shape[1:])
        answer = tuple(self._run(call, 0, None)[output].shape[1:])
        if None in lengths and len(lengths) == len(answer) and lengths[-1] is not None:
            lengths = (*answer[:-1], lengths[-1])
        if not lengths or None in lengths or not answer:
            self._reasons[output] = "the lengths behind its last site vary"
            return None
        zero, last = np.zeros((1, *lengths), np.float32), lengths[-1]
        if answer[:-1] == lengths[:-1] and last <= MOST_UNITS and last * answer[-1] <= MOST_WEIGHTS:
            eye = np.broadcast_to(
                np.eye(last, dtype=np.float32).reshape(last, *[1] * (len(lengths) - 1), last), (last, *lengths)
            )
            got = self._run(call, 0, np.concatenate([zero, eye]))[output]
            weights = (got[1:] - got[0]).reshape(last, -1, answer[-1])[:, 0].astype(np.float32)
            form = ClosedForm(call, weights, met.variance, met.shared)
            if self._bears_out(output, form, lengths):
                return form
        units = math.prod(lengths)
        if units > MOST_UNITS or units * math.prod(answer) > MOST_WEIGHTS:
            self._reasons[output] = f"{units} units behind its last site are more than are tried one by one"
            return None
        got = self._run(call, 0, np.concatenate([zero, np.eye(units, dtype=np.float32).reshape(units, *lengths)]))[
            output
        ]
        weights = (got[1:] - got[0]).reshape(units, -1).astype(np.float32)
        form = ClosedForm(call, weights, met.variance, met.shared, answer, lengths)
        if self._bears_out(output, form, lengths):
            return form
        self._reasons[output] = "what follows its last site did not come out affine"
        return None

    def _bears_out(self, output: int, form: ClosedForm, lengths: Sequence[int]) -> bool:
        """Whether other numbers, on another row and under other masks, give what the form says."""
        units = np.random.default_rng(0).normal(size=(4, *lengths)).astype(np.float32)
        got = self._run(form.call, 1, np.concatenate([np.zeros_like(units[:1]), units]))[output].astype(np.float64)
        said = form.through(units).numpy()
        return _close(got[1:] - got[:1], said, self._tolerance * (np.abs(got).max(initial=0.0) + _LOWEST))

    def _run(self, call: Call, row: int, given: Array | None) -> list[Array]:
        """Outputs for so many rows of what comes of a call, all on one example row and in one pass; None: its own."""
        frontier = self._frontiers[row]
        if given is None:
            tensors = self._graphs.run(GraphKey("suffix"), run_arguments(1, 1, row, 0), *frontier)
            return [np.asarray(tensor) for tensor in tensors]
        key, parts = GraphKey("tail", call=call), []
        dtype = self._met[call].after.dtype
        for start in range(0, len(given), self._row_passes):
            part = tf.cast(given[start : start + self._row_passes], dtype)
            repeated = [tf.repeat(tensor, len(part), axis=0) for tensor in frontier]
            parts.append(self._graphs.run(key, run_arguments(len(part), 1, row, 0), *repeated, part))
        outputs = [np.concatenate([np.asarray(x) for x in column]) for column in zip(*parts, strict=True)]
        if any(len(x) != len(given) for x in outputs):
            raise InputError([Problem(("inputs",), DIFFERENT_ROWS)])
        return outputs


def _broken(
    graphs: CompiledGraphs, frontier: Sequence[Tensor], row_passes: int, tolerance: float
) -> Iterator[tuple[int, str]]:
    """Outputs whose drawn masks do not have the mean and the variance of the closed form, and what was found."""
    outputs = len(graphs.output_dtypes)
    closed = [i for i, forms in enumerate(graphs.closed.forms) if forms]
    drawn = [_passes(graphs, "all and forms", frontier, 0, BLOCK)]
    began = time.monotonic()
    without = [_passes(graphs, "not the last", frontier, 0, BLOCK)]
    blocks = int(CHECKED_S / (2 * (time.monotonic() - began) + _LOWEST))
    more = min(CHECKED_PASSES // BLOCK - 1, blocks, row_passes // BLOCK) * BLOCK
    if more:
        drawn.append(_passes(graphs, "all and forms", frontier, BLOCK, more))
        without.append(_passes(graphs, "not the last", frontier, BLOCK, more))
    plain, off = ([np.concatenate(x) for x in zip(*parts, strict=True)] for parts in (drawn, without))
    end = outputs
    for i in closed:
        function = graphs.closed.functions[i]
        at, end = end, end + (3 if function else 2)
        passes, mean, variance = plain[i], plain[at], plain[at + 1]
        scale = np.abs(passes).max(initial=0.0) + _LOWEST
        if not (
            _close(mean, off[at], tolerance * scale)
            and _close(variance, off[at + 1], tolerance * (variance.max(initial=0.0) + _LOWEST))
        ):
            yield i, "with and without its last masks the closed form comes out otherwise"
            continue
        rest = passes - mean
        if function:  # the masks of a pass are others than those that told its mean and variance
            middle = passes.mean(axis=0)
            squares = (passes - middle) ** 2 - (mean - middle) ** 2 - variance
        else:
            squares = rest**2 - variance
        # Rounding of the passes is not of the masks: it may move a difference by a hundredth of the tolerance.
        moved, width = _ROUNDING * tolerance * scale, math.sqrt(variance.max(initial=0.0))
        floors = {"mean": moved, "variance": tolerance * width**2 + 2 * moved * width + moved**2}
        for what, excess in (("mean", rest), ("variance", squares)):
            error = excess.std(axis=0) / math.sqrt(len(excess))
            if (np.abs(excess.mean(axis=0)) > _MOST_ERRORS * error + floors[what]).any():
                yield i, f"the masks that are drawn have another {what} than the closed form says"
                break


def _passes(
    graphs: CompiledGraphs,
    masks: Literal["not the last", "all and forms"],
    frontier: Sequence[Tensor],
    first: int,
    n: int,
) -> list[Array]:
    """Outputs, and means and variances by the closed forms, of passes of one row."""
    tensors = graphs.run(GraphKey("suffix", masks=masks), run_arguments(1, n, 1, first), *frontier)
    return [np.asarray(tensor).astype(np.float64) for tensor in tensors]


def _close(a: Array, b: Array, tolerance: float) -> bool:
    return bool(np.isfinite(a).all() and np.allclose(a, b, rtol=0.0, atol=tolerance))
