"""A layer that is told when to draw by its graph or its holder, and not by the model, is named for what it is."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from tests.models.audit.audited import audited, codes, network, the_finding
from thinned.models.dropout import register_noise

L = keras.layers
CODES = {
    "built-with-training-true",
    "draws-when-predicting",
    "never-trains",
    "never-called",
}


class Holder(L.Layer):
    """Calls its dropout with a `training` of its own."""

    def __init__(self, training: bool | None, **options: Any) -> None:
        super().__init__(**options)
        self.told, self.drop = training, L.Dropout(0.4, name="inner")

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.drop(x, training=training if self.told is None else self.told)


class TrainsByDefault(L.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop = L.Dropout(0.4, name="inner")

    def call(self, x: Any, training: bool = True) -> Any:
        return self.drop(x, training=training)


class PredictsByDefault(L.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop = L.Dropout(0.4, name="inner")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.drop(x, training=training)


class Idle(L.Layer):
    """Holds a dropout and never calls it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop = L.Dropout(0.4, name="inner")

    def call(self, x: Any) -> Any:
        return x


class Untold(L.Layer):
    """Takes no argument `training`: it draws whatever the model does."""

    rate = 0.3

    def call(self, x: Any) -> Any:
        return keras.random.dropout(x, self.rate)


class KeptOff(L.Layer):
    """Augmentation, registered as noise for training only."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x + keras.random.normal(keras.ops.shape(x)) if training else x


register_noise(Untold, armed=lambda layer, draw, x: draw.bernoulli(x, layer.rate), off=lambda layer, x: x)
register_noise(KeptOff, armed=None)


def of(*layers: Any) -> Any:
    return network(L.Dense(8, "relu"), *layers, L.Dropout(0.2, name="plain"), L.Dense(2))


@pytest.mark.parametrize(
    ("layer", "code", "site", "level"),
    [
        (lambda x: L.Dropout(0.4, name="site")(x, training=True), "built-with-training-true", "site", "warning"),
        (lambda x: Holder(None, name="h")(x, training=True), "built-with-training-true", "h/inner", "warning"),
        (Holder(True, name="h"), "draws-when-predicting", "h/inner", "warning"),
        (Untold(name="site"), "draws-when-predicting", "site", "warning"),
        # Keras draws here in fit() as in a layer that was given nothing: both have False written in the graph.
        (lambda x: L.Dropout(0.4, name="site")(x, training=False), None, None, None),
        (Holder(False, name="h"), "never-trains", "h/inner", "note"),
        (Idle(name="h"), "never-called", "h/inner", "note"),
        (TrainsByDefault(name="h"), None, None, None),
        (PredictsByDefault(name="h"), None, None, None),
        (Holder(None, name="h"), None, None, None),
        (KeptOff(name="site"), None, None, None),
    ],
)
def test_a_layer_is_named_for_how_it_is_called(
    layer: Any, code: str | None, site: str | None, level: str | None
) -> None:
    found = audited(of(layer), short=True)
    assert codes(found) & CODES == ({code} if code else set())
    if code:
        finding = the_finding(found, code)
        assert (finding.site, finding.level) == (site, level)
        assert finding.remedy
    assert "rate-0" not in codes(found)


def test_why_a_layer_draws_when_predicting_is_said() -> None:
    texts = [the_finding(audited(of(x), short=True), "draws-when-predicting").text for x in (Untold(), Holder(True))]
    assert "its call takes no argument training" in texts[0]
    assert "calls it with training=True" in texts[1]
