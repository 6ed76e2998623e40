"""Which model a path is about: the one that it names behind `/models/` or `/v2/models/`, else the first."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException

from thinned.service.inference.catalogue import Catalogue
from thinned.service.inference.model_manager import ModelManager
from thinned.service.metrics import Metrics

__all__ = ["manager_of", "metrics_of", "named_model"]

_NAMED = re.compile(r"(?:/v2)?/models/([^/]+)(?:/|$)")


def named_model(path: str) -> str | None:
    """The name of a model in a path; None where there is none."""
    found = _NAMED.match(path)
    return None if found is None else found[1]


def manager_of(models: Catalogue, path: str) -> ModelManager:
    """The model that a path is about.

    Raises:
        HTTPException: 404; no model of that name answers here.
    """
    name = named_model(path)
    manager = models.first if name is None else models.find(name)
    if manager is None:
        for primary in models.names:
            shadow = models.shadow_of(primary)
            if shadow is not None and shadow.manager.name == name:
                raise HTTPException(404, f"{name} answers unseen, as a shadow: see /models/{primary}/comparison.")
        served = f"{', '.join(map(repr, models.names))} {'is' if len(models.names) == 1 else 'are'} served"
        raise HTTPException(404, f"There is no model {str(name)[:100]!r} here; {served}.")
    return manager


def metrics_of(models: Catalogue, path: str) -> Metrics:
    """Where requests for a path are counted: those for a model that is not there with the first."""
    name = named_model(path)
    manager = None if name is None else models.find(name)
    return (manager or models.first).metrics
