"""What an audit found, as data: complete as JSON, and short for a model's card."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thinned.models.card import AuditedSite, Finding, ShortAudit

__all__ = ["Audit", "OwnMeasure", "SiteAudit", "confidence"]

_Z99 = 2.5758293035489004


def confidence(dropped: int, drawn: int) -> tuple[float, float]:
    """The 99 % interval of a frequency, by Wilson's score (Wilson 1927; Brown, Cai & DasGupta 2001).

    It is for independent draws. Stratified ones vary less, so that for them it holds more often than it says.
    """
    share, square = dropped / drawn, _Z99**2
    middle = (share + square / (2 * drawn)) / (1 + square / drawn)
    half = _Z99 / (1 + square / drawn) * math.sqrt(share * (1 - share) / drawn + square / (4 * drawn**2))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class OwnMeasure:
    """Keras's own layer at a site, under `training=True`; see `thinned.models.audit.keras_layers.OwnLayer`."""

    drawn: int
    dropped: int
    frequency: float
    low: float
    high: float
    scale_error: float
    mean_factor: float
    shared_as_declared: bool
    identity_in_inference: bool
    correct: bool


@dataclass(frozen=True)
class SiteAudit:
    """One site: what it should do, where it stands, and what it did.

    `frequency` with its 99 % interval is of the units of all passes; `mean_factor`, 1 where the expectation is kept,
    is (1 - frequency) times the measured scale. `spread` is the measured standard deviation of Gaussian noise and
    `spread_due` what it should be. `variance_share` is, by output, what of the variance of all sites together this one
    causes alone. `registered` says that the layer draws as `register_noise` was told: what its mask should be is then
    not known, so `correct` is of the draws that it asked for, and its noise is judged by Keras's own draws of the
    whole model. `asked_rate` is the rate that it asked for, where it asked for one.
    """

    path: str
    kind: str
    rate: float | None
    stddev: float | None
    words: str
    after: tuple[str, ...]
    before: tuple[str, ...]
    mask_units: int | None = None
    declared_units: int | None = None
    drawn: int = 0
    dropped: int = 0
    frequency: float | None = None
    low: float | None = None
    high: float | None = None
    scale_error: float | None = None
    mean_factor: float | None = None
    spread: float | None = None
    spread_due: float | None = None
    registered: bool = False
    asked_rate: float | None = None
    identity_in_inference: bool | None = None
    correct: bool = True
    keras: OwnMeasure | None = None
    variance_share: Mapping[str, float] = field(default_factory=dict)

    def short(self) -> AuditedSite:
        """The site's line in a card."""
        return AuditedSite(
            path=self.path,
            kind=self.kind,
            rate=self.rate,
            frequency=self.frequency,
            low=self.low,
            high=self.high,
            correct=self.correct,
            keras_correct=None if self.keras is None else self.keras.correct,
        )


@dataclass(frozen=True)
class Audit:
    """A whole audit. `figures` holds what was measured of the model as a whole, by name.

    `rows` is how many rows were used, and `rows_used` a sentence that says which: the first of those given, or made-up
    ones of which shapes and values.
    """

    model: str
    verdict: str
    rows: int
    rows_used: str
    made_up_rows: bool
    n_samples: int
    seed: int
    sites: tuple[SiteAudit, ...]
    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]

    @property
    def warned(self) -> bool:
        """Whether any finding is a warning or an error."""
        return any(finding.level != "note" for finding in self.findings)

    def short(self) -> ShortAudit:
        """What a card holds of it."""
        return ShortAudit(
            verdict=self.verdict, sites=tuple(site.short() for site in self.sites), findings=self.findings
        )

    def to_json(self) -> dict[str, Any]:
        """All of it, in what JSON can hold; a number that is not finite is null."""
        document = dataclasses.asdict(self) | {"findings": [finding.model_dump() for finding in self.findings]}
        return {name: _plain(value) for name, value in document.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
