"""Ways to answer a classification, scored: the plain answer, the mean over passes, and that with its calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, OutputSpec
from thinned.models.errors import InputError, Problem
from thinned.models.evaluation.classification import (
    classification_drawn,
    classification_scores,
    held_by_sets,
    reliability,
    set_coverage_curve,
)
from thinned.models.evaluation.gathering import Inputs, OnRows, gather
from thinned.models.evaluation.images import image_drawn, image_scores, scored_images
from thinned.models.evaluation.predictive import Array, classes_of
from thinned.models.evaluation.ranking import (
    area_under,
    area_under_drawn,
    auroc,
    auroc_drawn,
    auroc_of_ood,
    auroc_of_ood_drawn,
    risk_coverage,
)
from thinned.models.evaluation.report import Series
from thinned.models.evaluation.resampling import Resampling
from thinned.models.evaluation.rows import ClassRows
from thinned.models.uncertainty import temper

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["ClassAnswers", "class_answers", "class_series"]


@dataclass(frozen=True)
class ClassAnswers:
    """What a model answers of B rows, A answers each, and of rows from elsewhere: plain, and for each number of passes.

    `shape` is that of the answers of a row: (H, W) of an image, (T,) of a sequence, (L,) of several labels, () of one
    class. `unit` is what a row is.
    """

    shape: tuple[int, ...]
    unit: str
    plain: ClassRows
    sampled: list[ClassRows]
    plain_ood: ClassRows | None
    sampled_ood: list[ClassRows] | None

    @property
    def are_images(self) -> bool:
        """Whether a row is an image, or a volume, with a class for each pixel."""
        return self.unit == "image"


def class_answers(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    counts: Sequence[int],
    seed: int,
    ood: Inputs | None,
    on_rows: OnRows | None,
) -> ClassAnswers:
    """Ask the model."""

    def keep(passes: npt.NDArray[Any], rows: slice) -> ClassRows:
        return ClassRows.of(classes_of(passes, spec))

    def plain(given: Inputs) -> tuple[ClassRows, tuple[int, ...]]:
        values = model.predict(given)[spec.name]
        shape = values.shape[1:] if spec.task == "multilabel" else values.shape[1:-1]
        return ClassRows.of(classes_of(values[np.newaxis], spec)), shape

    def sampled(given: Inputs, told: OnRows | None) -> list[ClassRows]:
        return [ClassRows.joined(parts) for parts in gather(model, spec, given, counts, seed, keep, told)]

    own, shape = plain(inputs)
    one_class = spec.task == "multilabel" or not shape
    return ClassAnswers(
        shape,
        "row" if one_class else "sequence" if len(shape) == 1 else "image",
        own,
        sampled(inputs, on_rows) if counts else [],
        None if ood is None else plain(ood)[0],
        sampled(ood, None) if counts and ood is not None else None,
    )


def class_series(
    answers: ClassAnswers,
    spec: OutputSpec,
    labels: npt.NDArray[np.int64],
    rows: int,
    counts: Sequence[int],
    curves_at: int,
    resampling: Resampling,
    resampling_ood: Resampling | None,
) -> tuple[list[Series], ClassRows]:
    """Score all ways to answer.

    Returns:
        The series, and the answers that curves are of.

    Raises:
        InputError: There are more or fewer labels than answers.
    """
    if len(labels) != len(answers.plain.probs):
        each = "x".join(map(str, answers.shape)) or "1"
        what = f"expected {len(answers.plain.probs)} targets, {each} for each of {rows} rows, received {len(labels)}"
        raise InputError([Problem(("targets",), what)])
    several = spec.task == "multilabel"
    scorer = _Scorer(labels, rows, answers.are_images, several, resampling, resampling_ood)
    series = [scorer.series("deterministic", (0,), [answers.plain], [answers.plain_ood], 0)]
    if not counts:
        return series, answers.plain
    others: Sequence[ClassRows | None] = answers.sampled_ood or [None] * len(counts)
    place = [*counts, curves_at].index(curves_at)
    series.append(scorer.series("passes", tuple(counts), answers.sampled, others, place))
    fitted = spec.calibration
    if fitted is None:
        return series, answers.sampled[place]
    temperature = fitted.temperature or 1.0
    tempered, tempered_others = (
        [None if some is None else some.with_probs(temper(some.probs, temperature)) for some in of]
        for of in (answers.sampled, others)
    )
    served = [some for some in tempered if some is not None]
    sets = fitted if fitted.promise else None
    series.append(scorer.series("calibrated", tuple(counts), served, tempered_others, place, sets))
    return series, served[place]


class _Scorer:
    """Scores answers against the labels of one set of rows."""

    def __init__(
        self,
        labels: npt.NDArray[np.int64],
        rows: int,
        images: bool,
        several: bool,
        resampling: Resampling,
        resampling_ood: Resampling | None,
    ) -> None:
        self._labels, self._rows, self._images = labels, rows, images
        self._label_rows = rows if several else None
        self._resampling, self._resampling_ood = resampling, resampling_ood

    def series(
        self,
        name: str,
        counts: tuple[int, ...],
        rows: Sequence[ClassRows],
        others: Sequence[ClassRows | None],
        place: int,
        sets: Calibration | None = None,
    ) -> Series:
        found = [self._scores(name, own, other, sets) for own, other in zip(rows, others, strict=True)]
        shown = rows[place]
        wrong = (shown.probs.argmax(axis=1) != self._labels).astype(float)
        curves: dict[str, Any] = {
            "reliability": reliability(shown.probs, self._labels),
            **{f"risk_coverage_{what}": risk_coverage(u, wrong) for what, u in _uncertainties(name, shown)},
        }
        if sets is not None:
            curves["coverage"] = set_coverage_curve(shown.probs, self._labels, sets, self._label_rows)
        return Series(name, counts, tuple(s for s, _ in found), tuple(i for _, i in found), curves)

    def _scores(
        self, name: str, own: ClassRows, other: ClassRows | None, sets: Calibration | None
    ) -> tuple[dict[str, float | None], dict[str, tuple[float, float] | None]]:
        labels, resampling = self._labels, self._resampling
        wrong = own.probs.argmax(axis=1) != labels
        scores = classification_scores(own.probs, labels)
        drawn = classification_drawn(own.probs, labels, resampling)
        if self._images:
            images = scored_images(own, labels, self._rows)
            scores, drawn = {**image_scores(images), **scores}, {**drawn, **image_drawn(images, resampling)}
        scores["area_under_risk_coverage"] = area_under(own.entropy, wrong.astype(float))
        drawn["area_under_risk_coverage"] = area_under_drawn(own.entropy, wrong.astype(float), resampling)
        for what, uncertainty in _uncertainties(name, own):
            scores[f"auroc_error_{what}"] = auroc(uncertainty, wrong)
            drawn[f"auroc_error_{what}"] = auroc_drawn(uncertainty, wrong, resampling)
            if other is not None and self._resampling_ood is not None:
                strange = dict(_uncertainties(name, other))[what]
                both = (resampling, self._resampling_ood)
                scores[f"auroc_strange_{what}"] = auroc_of_ood(uncertainty, strange)
                drawn[f"auroc_strange_{what}"] = auroc_of_ood_drawn(uncertainty, strange, both)
        if sets is not None:
            for name_, held in held_by_sets(own.probs, labels, sets, self._label_rows).items():
                scores[name_] = None if held is None else float(held.mean())
                if held is not None:
                    by_row = resampling if self._label_rows is None else resampling.by_unit()
                    drawn[name_] = by_row.mean(held)
        return scores, {key: resampling.interval(value, drawn.get(key)) for key, value in scores.items()}


def _uncertainties(name: str, rows: ClassRows) -> Iterator[tuple[str, Array]]:
    yield "entropy", rows.entropy
    if name != "deterministic":
        yield "mutual_information", rows.information
