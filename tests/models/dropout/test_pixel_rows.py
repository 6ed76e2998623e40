"""Rows for a model that rescales pixels are pixels: rows near 0 would leave its units dead, and get it refused."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from thinned.models.dropout import check_laws, enable_mc_dropout

L = keras.layers


def images(*layers: Any, dtype: str = "float32") -> Any:
    x = inputs = keras.Input((6, 6, 3), dtype=dtype)
    for layer in layers:
        x = layer(x)
    x = L.Conv2D(4, 3, use_bias=False)(x)
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.3)(L.Flatten()(L.ReLU()(L.BatchNormalization()(x))))))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize(
    ("layers", "largest"),
    [
        ([L.Rescaling(1 / 255)], 255),
        ([L.Rescaling(1 / 127.5, -1)], 255),
        ([L.RandomFlip(), L.Resizing(6, 6), L.Rescaling(1 / 255)], 255),
        ([keras.Sequential([L.RandomZoom(0.1), L.Rescaling(1 / 255)])], 255),
        ([L.Rescaling(2.0)], 1),
    ],
)
def test_rows_reach_as_far_as_pixels_do(layers: list[Any], largest: int, dtype: str) -> None:
    fresh = [L.deserialize(L.serialize(layer)) for layer in layers]
    (x,) = enable_mc_dropout(images(*fresh, dtype=dtype)).examples.rows(16).values()
    if largest == 255:
        assert x.min() < 10
        assert 245 < x.max() <= 255
    else:
        assert abs(x).max() < 10


def test_a_model_whose_normalisation_expects_pixels_is_served() -> None:
    """Its moving mean is that of pixels: near 0 every unit behind it is dead, and every pass the same."""
    keras.utils.set_random_seed(3)
    model = images(L.Rescaling(1 / 255))
    norm = next(layer for layer in model.layers if isinstance(layer, L.BatchNormalization))
    norm.moving_mean.assign(keras.ops.full((4,), 0.05))
    norm.moving_variance.assign(keras.ops.full((4,), 0.01))
    assert check_laws(enable_mc_dropout(model)) == ()
