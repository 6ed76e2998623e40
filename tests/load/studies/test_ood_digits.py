"""Rotated, noisy and left-out digits make the network less certain."""

from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.studies.ood_digits import SPEC, noisy, ood_scores, plot_shifts, rotated, score_shift
from thinned.loadtest.studies.ood_nearest import compare
from thinned.models.examples import digits as example
from thinned.models.loading import load


def test_rotated_and_noisy_digits_raise_entropy_and_mutual_information(digits: str) -> None:
    model, split = load(digits), example.data()
    images, labels = split.x_test[:120], split.y_test[:120]
    unshifted = score_shift(model, images, labels, 0)
    assert unshifted.accuracy > 0.95
    rotation = score_shift(model, rotated(images, 60), labels, 60)
    noise = score_shift(model, noisy(images, 6), labels, 6)
    for scores in (rotation, noise):
        assert scores.entropy > 2 * unshifted.entropy
        assert scores.mutual_information > 2 * unshifted.mutual_information
    assert plot_shifts([unshifted, rotation], [unshifted, noise]).startswith(b"\x89PNG")


def test_a_rotation_by_90_degrees_is_that_of_the_array() -> None:
    images = np.random.default_rng(0).uniform(0, 16, (2, 8, 8, 1)).astype("float32")
    assert np.allclose(rotated(images, 0), images)
    quarter = rotated(images, 90)
    assert any(np.allclose(quarter, np.rot90(images, k, axes=(1, 2)), atol=1e-3) for k in (1, 3))
    assert noisy(images, 9).min() >= 0
    assert noisy(images, 9).max() <= 16


def test_the_nearest_training_images_tell_turned_and_noisy_digits(digits: str) -> None:
    model, split = load(digits), example.data()
    strange = {"turned": rotated(split.x_test, 90), "noise": noisy(split.x_test, 8)}
    found = compare(model, SPEC, split.x_train, split.x_test, strange, splits=2)
    assert min(found.areas["turned"][2:]) > 0.97
    assert found.areas["noise"][3] > max(found.areas["noise"][:2])
    assert max(found.usual) < 0.12
    assert found.told["turned"][1] > 0.9


@pytest.mark.long
@pytest.mark.parametrize("left_out", [(8, 9)])
def test_uncertainty_detects_digits_left_out_of_training(left_out: tuple[int, int]) -> None:
    found = ood_scores(left_out, epochs=20)  # with fewer the batch normalisation has not converged
    for value in found.values():
        assert value is not None
        assert value > 0.8
