"""What an evaluation found, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinned.models.evaluation.by_group import ByGroup
    from thinned.models.evaluation.images import ImageMap, ScoredImage
    from thinned.models.evaluation.losses import PolicyScores
    from thinned.models.evaluation.unlike import UnlikeRows

__all__ = ["Evaluation", "Series"]

Scores = Mapping[str, float | None]
Intervals = Mapping[str, tuple[float, float] | None]


@dataclass(frozen=True)
class Series:
    """One way to answer: its scores for each number of passes, and its curves at one of them.

    `n_samples` is (0,) for the deterministic answer. A score of None does not apply, or nothing tells it. `intervals`
    are those of the bootstrap about the scores, lower and upper end.
    """

    name: str
    n_samples: tuple[int, ...]
    scores: tuple[Scores, ...]
    intervals: tuple[Intervals, ...] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_calibrated(self) -> bool:
        """Whether what calibration has fitted is in these answers."""
        return self.name.startswith("calibrated")

    @property
    def is_deterministic(self) -> bool:
        """Whether no passes are drawn for these answers."""
        return self.n_samples == (0,)


@dataclass(frozen=True)
class Evaluation:
    """Scores of one output of a model on one set of rows.

    `answers` is the number of answers in a row: pixels of an image, labels of several. `curves_at` is the number of
    passes that curves and images are of, and `calibrated_with` that of the calibration, None without one. `images` has
    a line for each image of a segmentation; `maps`, of a few of them, are left out of the JSON. `about` says what was
    run, where and when. `by` are scores by group, None where none were asked for, `policy` those of a policy that was
    calibrated, and `unlike` those of what was calibrated to tell rows from elsewhere, None without such rows.
    """

    model: str
    version: str
    output: str
    task: str
    rows: int
    seed: int
    series: tuple[Series, ...]
    notes: tuple[str, ...]
    unit: str = "row"
    answers: int = 1
    curves_at: int | None = None
    calibrated_with: int | None = None
    replicates: int = 0
    images: tuple[ScoredImage, ...] = ()
    maps: tuple[ImageMap, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    by: ByGroup | None = None
    policy: PolicyScores | None = None
    unlike: UnlikeRows | None = None

    @property
    def title(self) -> str:
        """The model, its output, and what it was scored on."""
        parts = {"image": "pixels", "sequence": "positions", "row": "answers"}
        within = f" with {self.rows * self.answers:,} {parts[self.unit]}" if self.answers > 1 else ""
        return f"{self.model}, output {self.output}: {self.rows:,} {self.unit}{'' if self.rows == 1 else 's'}{within}"

    def to_json(self) -> dict[str, Any]:
        """All of it but the maps, in what JSON can hold."""
        document: dict[str, Any] = _plain(dataclasses.asdict(dataclasses.replace(self, maps=())))
        del document["maps"]
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
