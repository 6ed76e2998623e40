"""Registered noise that is shared over positions is described, and judged by Keras's own draws alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

from tests.models.audit.audited import audited, codes, network, the_finding
from thinned.models.dropout import Draw, register_noise

L, ops = keras.layers, keras.ops


class Noisy(L.Layer):
    """A layer with noise of its own, and a rate."""

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.seed_generator = rate, keras.random.SeedGenerator(0)

    def uniform(self, shape: Any) -> Any:
        return keras.random.uniform(shape, seed=self.seed_generator)


class DropPath(Noisy):
    """One draw for each row: the branch falls as a whole."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return x
        kept = self.uniform((ops.shape(x)[0], 1, 1, 1)) >= self.rate
        return x * ops.cast(kept, x.dtype) / (1 - self.rate)


class HalfPath(DropPath):
    """The same, registered with half of its rate."""


class DropBlock(Noisy):
    """Squares of 3 x 3 fall, in all channels together."""

    def seed_rate(self, x: Any) -> float:
        side = int(x.shape[1])
        return float(self.rate / 9 * side**2 / (side - 2) ** 2)

    def drop(self, x: Any, centres: Any) -> Any:
        return x * (1 - ops.max_pool(centres, 3, strides=1, padding="same")) / (1 - self.rate)

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return x
        u = self.uniform((ops.shape(x)[0], *x.shape[1:3], 1))
        return self.drop(x, ops.cast(u < self.seed_rate(x), x.dtype))


class StochasticDepth(Noisy):
    """Without noise the branch is multiplied by its probability to be kept, as Huang et al. 2016 do."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return x * (1 - self.rate)
        return x * ops.cast(self.uniform((ops.shape(x)[0], 1, 1, 1)) >= self.rate, x.dtype)


class Wobble(L.Layer):
    """Neither a rate nor a stddev: how single units are moved is not known."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x * (1 + keras.random.uniform((ops.shape(x)[0], 1, 1, x.shape[-1]), -0.3, 0.3)) if training else x


def _block(layer: DropBlock, draw: Draw, x: Any) -> Any:
    rate = layer.seed_rate(x)
    centres = draw.uniform(ops.ones_like(x[..., :1]), lambda a, u: a * ops.cast(u < rate, a.dtype))
    return layer.drop(draw.identity(x), centres)


def _wobble(layer: Wobble, draw: Draw, x: Any) -> Any:
    return draw.uniform(x, lambda a, u: a * (0.7 + 0.6 * u), (None, 1, 1, None))


ONE = (None, 1, 1, 1)
register_noise(DropPath, armed=lambda layer, draw, x: draw.bernoulli(x, layer.rate, ONE))
register_noise(HalfPath, armed=lambda layer, draw, x: draw.bernoulli(x, layer.rate / 2, ONE))
register_noise(DropBlock, armed=_block)
register_noise(
    StochasticDepth,
    armed=lambda layer, draw, x: draw.drop(x, layer.rate, lambda a, fell: ops.where(fell, 0.0, a), ONE),
)
register_noise(Wobble, armed=_wobble)


def of(layer: Any) -> Any:
    conv = L.Conv2D(4, 3, padding="same", name="conv")
    return network(conv, layer, L.GlobalAveragePooling2D(), L.Dense(2, name="y"), shape=(8, 8, 2))


@pytest.mark.parametrize(
    ("layer", "draws"),
    [
        (lambda: DropPath(0.3), "1 draw in each pass for the 256 numbers of a row that meet it, which falls"),
        (lambda: DropBlock(0.2), "64 draws in each pass for the 256 numbers of a row that meet it"),
        (lambda: StochasticDepth(0.4), "1 draw in each pass for the 256 numbers"),
        (lambda: Wobble(), "4 draws in each pass for the 256 numbers"),
    ],
    ids=["drop-path", "drop-block", "stochastic-depth", "unmeasured"],
)
def test_noise_shared_over_positions_is_described_and_not_judged_by_its_mask(
    layer: Callable[[], Any], draws: str
) -> None:
    found = audited(of(layer()))
    assert not found.warned, found.findings
    (site,) = found.sites
    assert site.registered
    assert site.correct
    assert draws in site.words
    assert found.verdict.endswith("registered, and the passes of the model agree with Keras's own draws.")
    assert found.figures["off_is_deterministic"]


def test_a_rate_that_is_asked_for_is_measured() -> None:
    (site,) = audited(of(DropPath(0.3)), short=True).sites
    assert site.asked_rate == 0.3
    assert site.low is not None
    assert site.high is not None
    assert site.low <= 0.3 <= site.high


def test_a_wrong_registration_is_told_by_keras_own_draws() -> None:
    found = audited(of(HalfPath(0.5)))
    assert the_finding(found, "passes-differ-from-keras").level == "error"
    assert "site-incorrect" not in codes(found)
    assert found.verdict.endswith("the passes of the model are NOT Keras's own draws.")


def test_draws_that_do_not_keep_to_what_was_asked_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Draw._dropped
    monkeypatch.setattr(Draw, "_dropped", lambda self, units, rate: right(self, units, rate / 3))
    found = audited(of(DropPath(0.6)), short=True)
    assert "against 0.6" in the_finding(found, "site-incorrect").text
    assert "NOT what the registration asks for" in found.verdict
