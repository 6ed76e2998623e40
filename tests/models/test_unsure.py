"""Digits that are turned or noisy leave the network less sure."""

from __future__ import annotations

import numpy as np
import pytest

from models import registry
from models.dropout import arm
from models.examples import digits as example
from models.examples.unsure import drawing, noisy, shifted, turned, unseen


def test_turned_and_noisy_digits_raise_entropy_and_mutual_information(digits: str) -> None:
    armed, split = arm(registry.load_keras(registry.find(digits))), example.data()
    images, labels = split.x_test[:120], split.y_test[:120]
    plain = shifted(armed, images, labels, 0)
    assert plain.accuracy > 0.95
    turns, noises = shifted(armed, turned(images, 60), labels, 60), shifted(armed, noisy(images, 6), labels, 6)
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
