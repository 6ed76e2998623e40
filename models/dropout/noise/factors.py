"""Noise that multiplies by factors of mean 1, as a graph under construction can be told to draw, leave off or be given.

Where all that follows such noise is affine, mean and variance over it are closed forms of what meets it: then the
factors need not be drawn at all (Rao-Blackwell), and what meets them is looked at instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Call", "Factors", "Met"]

Tensor = Any


class Call(NamedTuple):
    """The n-th call of site number `site` in a pass."""

    site: int
    n: int


class Met(NamedTuple):
    """What a call of a site did to a tensor, with a row for each row and pass.

    `before` is what met the factors, `after` what came of it; `variance` is that of a factor. `shared` tells of each
    axis but that of rows whether all along it have one factor. `again(k)` are k further draws of the factors for each
    pass, less 1: (S, k, 1 or B, ...).
    """

    before: Tensor
    after: Tensor
    variance: float
    shared: tuple[bool, ...]
    again: Callable[[int], Tensor]


@dataclass
class Factors:
    """What is to be done at the calls of a graph, and what met them.

    Args:
        off: Calls whose factors stay 1.
        given: Calls whose result is not computed but given, (S * B, ...).
    """

    off: frozenset[Call] = frozenset()
    given: Mapping[Call, Tensor] = field(default_factory=dict)
    met: dict[Call, list[Met]] = field(default_factory=dict)
    """By call, in the order in which it drew; filled while the graph is traced."""
