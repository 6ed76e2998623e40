"""Which parameters of a test only `make test-long` tries."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

__all__ = ["some_long"]


def some_long(values: Iterable[Any], long: Collection[Any]) -> list[Any]:
    """The values for `parametrize`, in their order; those in `long` are marked so."""
    return [pytest.param(value, marks=pytest.mark.long) if value in long else value for value in values]
