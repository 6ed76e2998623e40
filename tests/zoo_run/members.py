"""The members of the zoo: what is built, how it is imported, and which refusals are rightful."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.zoo import FAMILIES, build
from tests.zoo.applications import APPLICATIONS
from tests.zoo.classics import CLASSICS
from tests.zoo.idioms import IDIOMS, REFUSED, around
from tests.zoo.inputs import DEMANDING
from tests.zoo.layouts import LAYOUTS
from tests.zoo.numerics import NUMERICS
from tests.zoo.refusals import REFUSALS
from tests.zoo.sequences import SEQUENCES
from tests.zoo.tables import TABLES
from tests.zoo.text import MISSING

__all__ = ["GROUPS", "Member", "find", "members"]

GROUPS = {
    "families": "small models of every family",
    "idioms": "layers of books and forums that draw their own noise",
    "layouts": "values without rows, rows on another axis",
    "inputs": "models that answer only rows of a kind",
    "text": "words and categories",
    "vision": "images, generative models, graphs, points",
    "sequences": "recurrent networks, convolutions over time, transformers",
    "tables": "rows of numbers and categories",
    "numerics": "precision, normalisation, quantisation",
    "applications": "keras.applications",
    "hub": "KerasHub",
    "refusals": "what cannot have a right answer",
}


OPTIONS = {
    "vision/segmenter_of_any_size": ("--input-shape", "16,16,3"),  # `UpSampling2D` by `bilinear` needs known lengths
}
"""What `thinned import` is told of lengths that a model leaves open."""

REFUSED_BY_KERAS = {
    "numerics/quantised_transformer": "Keras could not load it",  # a quantised attention that 3.15.1 itself saved
    "hub/XLNet": "depends on the other rows",  # with padding, KerasHub 0.32's own answers to a row do
    "hub/sam": "expected one answer a row",  # one of its outputs is a table of positions, shared by all rows
    "hub/dinov2": "Failed to convert elements",  # KerasHub 0.32's drop-path cannot be called with training=True
}
"""Members that Keras or KerasHub itself does not load, call or answer row by row; each was tried without Thinned."""


@dataclass(frozen=True)
class Member:
    """One model of the zoo.

    Args:
        name: "group/name".
        make: Builds it.
        options: What `thinned import` must be told beyond what it can read.
        refused: Words of the refusal that is right for it; None where it must be served.
    """

    name: str
    make: Callable[[], Any]
    options: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def group(self) -> str:
        """Which part of the zoo it belongs to."""
        return self.name.partition("/")[0]

    def build(self) -> Any:
        """The model, with the weights of the seed that was set before."""
        return self.make()


@cache
def members() -> dict[str, Member]:
    """All members by name."""
    return {member.name: member for member in _all()}


def find(name: str) -> Member:
    """A member by its name."""
    return members()[name]


def _all() -> Iterator[Member]:
    for name in FAMILIES:
        yield Member(f"families/{name}", lambda name=name: build(name))
    for name, make in IDIOMS.items():
        yield Member(f"idioms/{name}", make)
    for name, (layer, words) in REFUSED.items():
        yield Member(f"refusals/{name}", lambda layer=layer: around(layer()), refused=words)
    for group, models in (
        ("layouts", LAYOUTS),
        ("inputs", DEMANDING),
        ("vision", CLASSICS),
        ("sequences", SEQUENCES),
        ("tables", TABLES),
        ("numerics", NUMERICS),
        ("applications", APPLICATIONS),
    ):
        for name, make in models.items():
            yield _plain(f"{group}/{name}", make)
    for name, (make, _) in MISSING.items():
        yield Member(f"text/{name.replace(' ', '_')}", make)
    for name, (make, words) in REFUSALS.items():
        yield Member(f"refusals/{name}", make, refused=words)
    yield from _hub()


def _plain(name: str, make: Callable[[], Any]) -> Member:
    return Member(name, make, OPTIONS.get(name, ()), REFUSED_BY_KERAS.get(name))


def _hub() -> Iterator[Member]:
    try:
        from tests.zoo.hub import HUB
    except ImportError:
        return
    for name, make in HUB.items():
        yield _plain(f"hub/{name}", make)
