"""What can go wrong, drawn once. None of these know HTTP; `thinned.service.http.problem_details` maps them to statuses.

ThinnedError
├── InputError              what the caller sent does not fit the model
├── NoSitesError            Monte Carlo asked of a model whose variance would be 0
├── CalibrationError        a coverage asked of a model that is not calibrated for it, or rows that cannot calibrate
├── UnsupportedModelError   the model cannot be served as it is
│   └── UnknownNoiseError   a layer draws noise that no one told us how to draw
├── ModelFileError          the file is not a model that may be loaded
├── ModelNotFoundError      the store has no such model
├── ModelExistsError        the name is taken, or is not a valid name
└── ModelCorruptError       the stored file is not the one that was imported
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "CalibrationError",
    "InputError",
    "ModelCorruptError",
    "ModelExistsError",
    "ModelFileError",
    "ModelNotFoundError",
    "NoSitesError",
    "Problem",
    "ThinnedError",
    "UnknownNoiseError",
    "UnsupportedModelError",
]


class Problem(NamedTuple):
    """One thing wrong with an input: where it stands, and what was expected and received."""

    loc: tuple[str | int, ...]
    msg: str


class ThinnedError(Exception):
    """Base of every error that a person can act on; its text is one readable sentence or two."""


class InputError(ThinnedError):
    """The input does not fit the model or the limits."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, p.loc))}: {p.msg}" if p.loc else p.msg for p in problems))


class NoSitesError(ThinnedError):
    """The model has no active site, so every pass would be the same and the variance 0."""


class CalibrationError(ThinnedError):
    """A model cannot be calibrated so, or is not calibrated for what is asked."""


class UnsupportedModelError(ThinnedError):
    """The model cannot be served as it is; the text names the layer, the reason and a remedy."""


class UnknownNoiseError(UnsupportedModelError):
    """A layer draws its own noise, and no stochastic form of it is registered."""


class ModelFileError(ThinnedError):
    """The file is not a Keras model that may be loaded safely."""


class ModelNotFoundError(ThinnedError):
    """The store holds no model of that name or version."""


class ModelExistsError(ThinnedError):
    """The name cannot be used."""


class ModelCorruptError(ThinnedError):
    """The stored file differs from the one that was imported."""
