"""How far two models disagree on the same rows, and which of them is less sure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.sampling import Sampling
from thinned.models.uncertainty.answer import answer_output, likeliest_class, require_finite
from thinned.models.uncertainty.paired_means import LEAST_REQUESTS, Estimate, PairedMean
from thinned.models.uncertainty.running_statistics import RunningStatistics

__all__ = ["OutputComparison"]

Array = npt.NDArray[Any]


class OutputComparison:
    """One output of two models, compared request by request.

    Of a row that holds several answers (the pixels of an image) the mean over them is taken; rows are then compared.

    Args:
        specs: The output as the card of each model has it.
    """

    def __init__(self, specs: tuple[OutputSpec, OutputSpec]) -> None:
        self._specs = specs
        self._classes = specs[0].task == "classification"
        self._agreement, self._difference, self._distance = PairedMean(), PairedMean(), PairedMean()
        self._unsure, self._less_sure = (PairedMean(), PairedMean()), PairedMean()

    def add_predicted(self, one: Array, other: Array) -> None:
        """Add the deterministic answers of both to a request's rows, (B, *output_shape).

        Raises:
            AnswerNotFiniteError: A number is NaN or infinite.
        """
        pair = (one, other)
        for spec, values in zip(self._specs, pair, strict=True):
            require_finite(spec.name, values)
        if self._classes:
            self._add_classes(*(likeliest_class(s, v) for s, v in zip(self._specs, pair, strict=True)))
        else:
            self._add_values(one, other)

    def add_sampled(self, one: RunningStatistics, other: RunningStatistics, sampling: Sampling) -> None:
        """Add what passes of both say of a request's rows; raises as `add_predicted` does."""
        a, b = (
            answer_output(spec, statistics, sampling=sampling)
            for spec, statistics in zip(self._specs, (one, other), strict=True)
        )
        unsure = (a.variance, b.variance)
        if a.predictive_entropy is not None and b.predictive_entropy is not None:
            unsure = (a.predictive_entropy, b.predictive_entropy)
        rows = tuple(map(_by_row, unsure))
        for name, values in zip(("one", "other"), rows, strict=True):
            require_finite(name, values)
        if a.likeliest is not None and b.likeliest is not None:
            self._add_classes(a.likeliest, b.likeliest)
        else:
            self._add_values(a.mean, b.mean)
        for kept, values in zip(self._unsure, rows, strict=True):
            kept.add(values)
        self._less_sure.add(rows[1] - rows[0])

    def _add_classes(self, one: Array, other: Array) -> None:
        self._agreement.add(_by_row(one == other))

    def _add_values(self, one: Array, other: Array) -> None:
        off = other.astype(np.float64) - one
        self._difference.add(_by_row(off))
        self._distance.add(_by_row(np.abs(off)))

    def told(self) -> dict[str, Any] | None:
        """What is known, as JSON; None before the first rows."""
        counted = self._agreement if self._classes else self._difference
        if not counted.requests:
            return None
        told: dict[str, Any] = {"requests": counted.requests, "rows": counted.rows}
        if self._classes:
            told["agreement"] = self._agreement.share()._asdict()
        else:
            told["difference"] = self._difference.mean()._asdict()
            told["absolute_difference"] = self._distance.mean()._asdict()
        if self._less_sure.requests:
            told["uncertainty"] = self._uncertainty()
        if counted.requests < LEAST_REQUESTS:
            told["note"] = f"of fewer than {LEAST_REQUESTS} requests no interval is told"
        return told

    def _uncertainty(self) -> dict[str, Any]:
        off = self._less_sure.mean()
        return {
            "kind": "predictive_entropy" if self._classes else "variance",
            "model": self._unsure[0].value,
            "shadow": self._unsure[1].value,
            "difference": off._asdict(),
            "less_sure": _less_sure(off),
        }


def _less_sure(difference: Estimate) -> str | None:
    """Which one is less sure, by the interval of the shadow's uncertainty less the model's; None where it holds 0."""
    if difference.low is not None and difference.low > 0:
        return "shadow"
    if difference.high is not None and difference.high < 0:
        return "model"
    return None


def _by_row(values: Array) -> Array:
    means: Array = np.asarray(values, np.float64).reshape(len(values), -1).mean(axis=1)
    return means
