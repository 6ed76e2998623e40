"""Rows of the examples, and which of them are held out."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

__all__ = ["SEED", "Split", "split"]

SEED = 0


class Split(NamedTuple):
    """Rows and targets to train on, and those that are held out."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


def split(x: NDArray[Any], y: NDArray[Any], *, by_class: bool) -> Split:
    """Hold a fifth out, the same one each time; with `by_class`, a fifth of each class."""
    from sklearn.model_selection import train_test_split

    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, stratify=y if by_class else None, random_state=SEED
    )
    return Split(x_train, y_train, x_test, y_test)
