"""What the layers of an old file become, and what makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Built", "LayerError", "Maker", "clean_name"]


class LayerError(Exception):
    """A layer cannot be made; the text names it and gives the reason."""


@dataclass
class Built:
    """A layer of the new model, under the name and class of the old one; for a model, with its layers in old order."""

    name: str
    class_name: str
    layer: Any
    children: list[Built] | None = None


class Maker(Protocol):
    """Makes layers from their configuration."""

    def build(self, item: Any) -> Built:
        """A layer, or a model inside a model."""

    def input(self, name: str, class_name: str, config: Mapping[str, Any]) -> Any | None:
        """The input that a layer's own arguments describe; None if they do not."""


def clean_name(name: str) -> str:
    """A name as Keras 3 takes it: without slashes."""
    return name.replace("/", "_")
