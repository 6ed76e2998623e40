"""Small models, loaded as a notebook loads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import thinned
from thinned import LoadedModel

Load = Callable[[str], LoadedModel]


@pytest.fixture(scope="session")
def loaded(models: dict[str, str]) -> Load:
    """Loads a model of the fixture `models` the first time that a test asks for it."""
    found: dict[str, LoadedModel] = {}

    def load(name: str) -> LoadedModel:
        if name not in found:
            found[name] = thinned.load(models[name])
        return found[name]

    return load
