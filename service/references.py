"""Which models a service serves: a list of references, of which some answer unseen as shadows of others."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["SHADOW", "Reference", "read_references"]

SHADOW = "@shadow"
"""Behind a reference: it answers the rows of another model unseen."""


class Reference(NamedTuple):
    """One model that is served.

    Args:
        text: NAME, NAME:VERSION or NAME@ALIAS, as the store finds it.
        name: Its name alone.
        shadow_of: Name of the model whose rows it answers unseen; None for one that answers requests.
    """

    text: str
    name: str
    shadow_of: str | None = None


def read_references(text: str) -> tuple[Reference, ...]:
    """The models that a text names, a space between them.

    A reference with `@shadow` behind it is a shadow, and so is a second version of a model that is named before. It is
    the shadow of the model that has its name, else of the one that stands before it.

    Raises:
        ValueError: They cannot be served together.
    """
    found: list[Reference] = []
    for word in text.split():
        plain = word.removesuffix(SHADOW)
        name = re.split("[:@]", plain)[0]
        answering = [one.name for one in found if one.shadow_of is None]
        if plain == word and name not in answering:
            found.append(Reference(plain, name))
            continue
        if not answering:
            raise ValueError(f"expected a model that answers before a shadow, received {word!r} first")
        primary = name if name in answering else answering[-1]
        if primary in (one.shadow_of for one in found):
            raise ValueError(f"expected one shadow at most of {primary!r}, received {word!r} besides")
        found.append(Reference(plain, name, primary))
    if not found:
        raise ValueError("expected the name of a model")
    return tuple(found)
