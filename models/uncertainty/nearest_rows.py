"""How unlike known rows a row is: its distance to the nearest of them, and how rare such a distance is.

The features of a row are told by up to 256 numbers. Where it has more, each of them is added, with a sign drawn once,
to one of 256 sums (feature hashing), which keeps distances to about a tenth. The distance to the nearest *reference*
row is compared with those of *scored* rows, none of which is a reference: the p-value of a row is the share of them
that lie as far or farther, the row itself counted. So for a row that is exchangeable with the scored ones it is at most
a with a probability of at most a, whatever the features. Where groups are exchangeable and rows are not, each group
counts once, and the share is that of a new group's rows, on average.

References:
    Sun, Ming, Zhu & Li 2022, Out-of-Distribution Detection with Deep Nearest Neighbors,
        https://arxiv.org/abs/2204.06507
    Bates, Candès, Lei, Romano & Sesia 2023, Testing for Outliers with Conformal p-values,
        https://arxiv.org/abs/2104.08279
    Weinberger et al. 2009, Feature Hashing for Large Scale Multitask Learning, https://arxiv.org/abs/0902.2206
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OodReference
from thinned.models.errors import AnswerNotFiniteError, CalibrationError

__all__ = ["NUMBERS", "NearestRows", "OodScores", "check_ood", "describe_ood"]

Array = npt.NDArray[np.float64]
NUMBERS = 256
_AT_ONCE = 1 << 21  # distances held at a time
_CANDIDATES = 4
_BLOCK = 32


class OodScores(NamedTuple):
    """Of each row its distance to the nearest reference row, and the p-value of that, (B,) each."""

    score: Array
    p_value: Array


@dataclass(frozen=True)
class NearestRows:
    """Reference rows, and the distances of scored ones.

    Args:
        scale: What each of the D numbers of a row is divided by, (D,).
        order: The numbers in the order in which they are added up, (D,).
        sign: 1 or -1 for each, (D,).
        reference: (R, K), K at most 256.
        scores: Distances of the scored rows, from the smallest, (M,).
        weights: The part of its unit that each of them is, (M,).
        units: How many units, rows or groups, they are of.
    """

    scale: Array
    order: npt.NDArray[np.int32]
    sign: npt.NDArray[np.int8]
    reference: npt.NDArray[np.float32]
    scores: Array
    weights: Array
    units: int

    @classmethod
    def of(cls, reference: npt.NDArray[Any], scale: Array, *, seed: int) -> NearestRows:
        """Take reference rows; `compared_with` then takes the distances of others.

        Args:
            reference: Features, (R, D).
            scale: What each of the numbers is divided by, (D,).
            seed: Of the sums and signs.
        """
        draw, width = np.random.default_rng(seed), len(scale)
        mixed = width > NUMBERS
        order = draw.permutation(width) if mixed else np.arange(width)
        sign = draw.choice([-1, 1], width) if mixed else np.ones(width)
        none = np.zeros(0)
        bare = cls(scale, order.astype(np.int32), sign.astype(np.int8), np.zeros((0, 1), np.float32), none, none, 0)
        return replace(bare, reference=bare._told(reference).astype(np.float32))

    def compared_with(self, scores: Array, units_of: npt.NDArray[np.int64]) -> NearestRows:
        """Take the distances (M,) of rows that have no part in the reference or the scale, and the unit of each."""
        _, of, sizes = np.unique(units_of, return_inverse=True, return_counts=True)
        rank = np.argsort(scores, kind="stable")
        return replace(self, scores=scores[rank], weights=(1.0 / sizes[of.ravel()])[rank], units=len(sizes))

    @property
    def width(self) -> int:
        """D, the numbers of a row."""
        return len(self.scale)

    def answer(self, features: npt.NDArray[Any]) -> OodScores:
        """Score rows (B, D).

        Raises:
            AnswerNotFiniteError: A feature is NaN or infinite.
        """
        if not np.isfinite(features).all():
            rows = np.flatnonzero(~np.isfinite(features).all(axis=1))[:10].tolist()
            raise AnswerNotFiniteError(
                f"the layers before the first dropout gave NaN or infinity for rows {rows}; send values nearer to "
                "those that the model was trained on"
            )
        score = self.distances(features)
        return OodScores(score, self.p_values(score))

    def distances(self, features: npt.NDArray[Any]) -> Array:
        """To the nearest reference row, (B,), of rows (B, D); in units of what rows usually lie apart."""
        known, sizes, centre = self._centred
        told, near = self._told(features) - centre, min(_CANDIDATES, len(known))
        step = max(1, _AT_ONCE // len(known))
        found = np.empty(len(told))
        for start in range(0, len(told), step):
            part = told[start : start + step]
            # Products are fast and tell who is near; how near, only differences tell without rounding.
            by_product = sizes - 2 * _products(part, known)
            chosen = known[np.argpartition(by_product, near - 1, axis=1)[:, :near]]
            found[start : start + step] = ((part[:, None] - chosen) ** 2).sum(axis=2).min(axis=1)
        distances: Array = np.sqrt(found)
        return distances

    @cached_property
    def _centred(self) -> tuple[Array, Array, Array]:
        """The reference about its mean, the squared length of each row, and the mean."""
        known = self.reference.astype(np.float64)
        centre = known.mean(axis=0)
        known -= centre
        return known, (known**2).sum(axis=1), centre

    def p_values(self, scores: Array) -> Array:
        """Of distances (B,): from 1 / (units + 1), unlike all scored rows, to 1."""
        # The weight of those from each on; ties count as at least as far.
        beyond = np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)
        found: Array = (1 + beyond[np.searchsorted(self.scores, scores, side="left")]) / (self.units + 1)
        return np.minimum(found, 1.0)

    def _told(self, features: npt.NDArray[Any]) -> Array:
        """Rows (B, D) by up to 256 numbers."""
        scaled = (features / self.scale)[:, self.order] * self.sign
        if self.width <= NUMBERS:
            return scaled
        filled = np.pad(scaled, ((0, 0), (0, -self.width % NUMBERS)))
        told: Array = filled.reshape(len(scaled), -1, NUMBERS).sum(axis=1)
        return told

    # On disk

    def to_bytes(self) -> bytes:
        """As a `.npz`."""
        content = io.BytesIO()
        np.savez_compressed(content, **{name: getattr(self, name) for name in self.__dataclass_fields__})
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> NearestRows:
        """What `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in cls.__dataclass_fields__}
        return cls(**{**found, "units": int(found["units"])})


def _products(rows: Array, known: Array) -> Array:
    """Rows (B, K) times known (R, K), (B, R), by products so small that OpenBLAS makes them in this thread.

    Its own threads spin for each other: with TensorFlow on the same cores 64 rows took 45 ms in place of 2.
    """
    found = np.empty((len(rows), len(known)))
    for i in range(0, len(rows), _BLOCK):
        for j in range(0, len(known), _BLOCK):
            found[i : i + _BLOCK, j : j + _BLOCK] = rows[i : i + _BLOCK] @ known[j : j + _BLOCK].T
    return found


def check_ood(card: ModelCard) -> None:
    """Refuse to say how unlike rows are where nothing tells it.

    Raises:
        CalibrationError: The model was not calibrated for it; says what to run.
    """
    if card.ood is None:
        raise CalibrationError(
            "the model was not calibrated with --ood, so that nothing tells how unlike known rows a row is; run "
            "thinned calibrate NAME --data val.npz --ood and serve the version that it makes, or leave `ood` out"
        )


def describe_ood(ood: OodReference) -> str:
    """In two sentences what a p-value of `ood` stands on."""
    of_groups = "" if ood.counted == "rows" else ", each group counted once"
    return (
        f"p-values of ood: rows are compared by {', '.join(ood.tensors)} with {ood.reference} reference rows, and the "
        f"distance to the nearest with those of {ood.n} {ood.counted}{of_groups}. A row like these has a p-value of at "
        f"most 0.05 in at most 5 % of the cases; none is below {1 / (ood.n + 1):.2g}."
    )
