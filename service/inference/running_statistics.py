"""What passes say of an output, gathered block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from thinned.models.dropout import BLOCK, Sampling, Summary
from thinned.models.uncertainty import BlockMoments, entropy

__all__ = ["OutputStatistics", "Running", "join_rows", "split_blocks"]

Array = npt.NDArray[Any]
ErrorSource = Literal["passes", "blocks"]


@dataclass(frozen=True, slots=True)
class OutputStatistics:
    """What S passes say of one output, for B rows.

    `mean`, `variance` (ddof 1) and `standard_error` (of the mean) have shape (B, *output_shape), float64. The error is
    told by the spread of passes, or by that of stratified blocks where there are enough of them. `quantiles`
    has shape (Q, B, *output_shape) and `samples` (S, B, *output_shape) where they were asked for. The entropies, in
    nats, have shape (B,), with further axes where a row holds several classifications; only for classification.
    """

    mean: Array
    variance: Array
    standard_error: Array
    standard_error_from: ErrorSource = "passes"
    quantiles: Array | None = None
    samples: Array | None = None
    predictive_entropy: Array | None = None
    expected_entropy: Array | None = None
    mutual_information: Array | None = None


class Running:
    """What is kept of one output of some rows while their passes come in."""

    def __init__(self) -> None:
        self._moments = BlockMoments(BLOCK)
        self._probabilities: Array | None = None
        self._entropy: Array | None = None

    @property
    def count(self) -> int:
        """Passes seen, S."""
        return self._moments.count

    @property
    def size(self) -> int:
        """Numbers in the mean."""
        return self._moments.mean.size

    def update(self, first: int, counts: Array, summary: Summary) -> None:
        """Add summaries of the passes from `first` on; `counts` (G,) tells how many are in each."""
        self._moments.update(first, counts, summary.mean, summary.deviations)
        if summary.probabilities is not None and summary.entropy is not None:
            self._probabilities = _add(self._probabilities, counts, summary.probabilities)
            self._entropy = _add(self._entropy, counts, summary.entropy)

    def standard_error(self, sampling: Sampling) -> tuple[Array, ErrorSource]:
        """Standard error of the mean, and what told it."""
        if sampling == "stratified" and self._moments.enough_blocks():
            return self._moments.error_of_blocks, "blocks"
        return self._moments.error_of_passes, "passes"

    def statistics(self, sampling: Sampling) -> OutputStatistics:
        """What the passes so far say."""
        error, source = self.standard_error(sampling)
        predictive = expected = None
        if self._probabilities is not None and self._entropy is not None:
            predictive = entropy(self._probabilities / self._moments.count)
            # Jensen's inequality holds in exact arithmetic; rounding must not break it.
            expected = np.minimum(self._entropy / self._moments.count, predictive)
        return OutputStatistics(
            mean=self._moments.mean,
            variance=self._moments.variance,
            standard_error=error,
            standard_error_from=source,
            predictive_entropy=predictive,
            expected_entropy=expected,
            mutual_information=None if predictive is None or expected is None else predictive - expected,
        )


def join_rows(
    parts: Sequence[OutputStatistics],
    *,
    samples: Array | None = None,
    quantiles: Sequence[float] | None = None,
    return_samples: bool = False,
) -> OutputStatistics:
    """Put rows that were computed apart back together, and add what was asked for of their `samples`."""

    def rows(name: str) -> Any:
        pieces = [getattr(part, name) for part in parts]
        return pieces[0] if len(pieces) == 1 or pieces[0] is None else np.concatenate(pieces)

    levels = None
    if samples is not None and quantiles:
        levels = np.quantile(samples.astype(np.float64), list(quantiles), axis=0)
    return OutputStatistics(
        mean=rows("mean"),
        variance=rows("variance"),
        standard_error=rows("standard_error"),
        standard_error_from=parts[0].standard_error_from,
        quantiles=levels,
        samples=samples if return_samples else None,
        predictive_entropy=rows("predictive_entropy"),
        expected_entropy=rows("expected_entropy"),
        mutual_information=rows("mutual_information"),
    )


def split_blocks(first: int, counts: Array, summary: Summary) -> Iterator[tuple[int, Array, Summary]]:
    """Summaries one block at a time."""
    for i, count in enumerate(counts.tolist()):
        yield first, counts[i : i + 1], Summary(*(None if part is None else part[i : i + 1] for part in summary))
        first += count


def _add(total: Array | None, counts: Array, means: Array) -> Array:
    weighted = counts.astype(np.float64) @ means.reshape(len(means), -1)
    added: Array = weighted.reshape(means.shape[1:])
    return added if total is None else total + added
