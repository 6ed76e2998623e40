"""Two outputs, a mean and its spread, served as the one output that a gaussian is read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L
from numpy.testing import assert_allclose

from thinned.models.dropout import join_heads
from thinned.models.errors import UnsupportedModelError, UsageError
from thinned.models.gaussian_heads import GaussianHeads, Spread
from thinned.models.loading import load_stored
from thinned.models.storage.importing import import_model

X = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")


def heads(activation: str | None = None, *, width: int = 2, spread: int = 2, keys: bool = False) -> Any:
    x = keras.Input((3,), name="x")
    hidden = L.Dropout(0.4)(L.Dense(16, "relu")(x))
    found = {
        "aux": L.Dense(1, name="a")(hidden),
        "mu": L.Dense(width, name="m")(hidden),
        "sigma": L.Dense(spread, activation, name="s")(hidden),
    }
    return keras.Model(x, found if keys else list(found.values()))


@pytest.mark.parametrize(
    ("kind", "activation", "log", "keys"),
    [
        ("log_variance", None, lambda s: s, False),
        ("variance", "softplus", np.log, True),
        ("deviation", "softplus", lambda s: 2 * np.log(s), False),
    ],
)
def test_the_joined_output_holds_means_and_log_variances(
    tmp_path: Path, kind: Spread, activation: str | None, log: Any, keys: bool
) -> None:
    model = heads(activation, keys=keys)
    answer = model(X, training=False)
    aux, mu, sigma = (np.asarray(x) for x in (answer.values() if keys else answer))
    model.save(tmp_path / "two.keras")
    names = ("aux", "mu", "sigma") if keys else ("a", "m", "s")
    pair = GaussianHeads(names[1], names[2], kind)
    stored = import_model(
        tmp_path / "two.keras", name="two-heads", tasks={None: "regression"}, gaussian=[pair], replace=True
    )
    tasks = {output.name: output.task for output in stored.card.outputs}
    first = names[0]
    assert tasks == {first: "regression", pair.joined: "gaussian"}
    assert any("log-variance" in warning for warning in stored.card.warnings)
    loaded = load_stored(stored)
    found = loaded.predict({"x": X})
    assert_allclose(found[first], aux, rtol=1e-6)
    assert_allclose(found[pair.joined], np.concatenate([mu, log(sigma)], axis=-1), rtol=1e-5, atol=1e-5)
    passes = loaded.sample({"x": X}, n_samples=8, seed=1)[pair.joined]
    assert passes.shape == (8, 7, 4)
    assert np.ptp(passes, axis=0).min() > 0


def test_a_variance_of_zero_is_a_number() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, [L.Dense(1, name="m")(x), L.Dense(1, "relu", kernel_initializer="zeros", name="s")(x)])
    joined = join_heads(model, [GaussianHeads("m", "s", "variance")])
    assert np.isfinite(np.asarray(joined(X))).all()


def test_what_cannot_be_joined_is_told() -> None:
    with pytest.raises(UsageError, match="names the output 'z'; the model's outputs are a, m, s"):
        join_heads(heads(), [GaussianHeads("m", "z")])
    with pytest.raises(UsageError, match="names the output 'm' twice"):
        join_heads(heads(), [GaussianHeads("m", "m")])
    with pytest.raises(UnsupportedModelError, match=r"'m' has the shape \(None, 2\) and 's' \(None, 1\)"):
        join_heads(heads(spread=1), [GaussianHeads("m", "s")])
    with pytest.raises(UnsupportedModelError, match="is a Sequential"):
        join_heads(keras.Sequential([L.Input((3,)), L.Dense(2)]), [GaussianHeads("m", "s")])
