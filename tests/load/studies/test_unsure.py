"""Digits that are turned or noisy leave the network less sure."""

from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.studies.unsure import drawing, noisy, shifted, turned, unseen
from thinned.models.dropout import enable_mc_dropout
from thinned.models.examples import digits as example
from thinned.models.storage import model_store


def test_turned_and_noisy_digits_raise_entropy_and_mutual_information(digits: str) -> None:
    stochastic, split = enable_mc_dropout(model_store.load_keras(model_store.find(digits))), example.data()
    images, labels = split.x_test[:120], split.y_test[:120]
    plain = shifted(stochastic, images, labels, 0)
    assert plain.accuracy > 0.95
    turns, noises = (
        shifted(stochastic, turned(images, 60), labels, 60),
        shifted(stochastic, noisy(images, 6), labels, 6),
    )
    for found in (turns, noises):
        assert found.entropy > 2 * plain.entropy
        assert found.mutual_information > 2 * plain.mutual_information
    assert drawing([plain, turns], [plain, noises]).startswith(b"\x89PNG")


def test_a_turn_of_90_degrees_is_that_of_the_array() -> None:
    images = np.random.default_rng(0).uniform(0, 16, (2, 8, 8, 1)).astype("float32")
    assert np.allclose(turned(images, 0), images)
    quarter = turned(images, 90)
    assert any(np.allclose(quarter, np.rot90(images, k, axes=(1, 2)), atol=1e-3) for k in (1, 3))
    assert noisy(images, 9).min() >= 0
    assert noisy(images, 9).max() <= 16


@pytest.mark.parametrize("classes", [(8, 9)])
def test_mutual_information_tells_digits_that_were_never_seen(classes: tuple[int, int]) -> None:
    found = unseen(classes, epochs=20)  # fewer, and the normalisation has not settled
    for value in found.values():
        assert value is not None
        assert value > 0.8
