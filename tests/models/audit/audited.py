"""What the tests of audits share: an audit of a Keras model, and its findings."""

from __future__ import annotations

from typing import Any

import keras

from thinned.models.audit.report import Audit
from thinned.models.audit.run import audit
from thinned.models.card import Finding
from thinned.models.dropout import enable_mc_dropout

__all__ = ["audited", "codes", "network", "the_finding"]


def audited(model: Any, **options: Any) -> Audit:
    return audit(enable_mc_dropout(model), **options)


def codes(found: Audit) -> set[str]:
    return {finding.code for finding in found.findings}


def the_finding(found: Audit, code: str) -> Finding:
    (finding,) = [finding for finding in found.findings if finding.code == code]
    return finding


def network(*layers: Any, shape: tuple[int | None, ...] = (6,), seed: int = 3) -> Any:
    """A functional model that applies layers, or functions of tensors, one after the other."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input(shape, name="x")
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)
