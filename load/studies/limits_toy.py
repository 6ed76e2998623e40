"""A function of one number whose truth is known: what passes, an ensemble and `ood` say where there are no rows.

For `limits`. Rows stand at 1 to 3 and -3 to -1, with normal noise of 0.1. *Between* is -0.7 to 0.7, *outside* is 3.5 to
5 on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.models.dropout import enable_mc_dropout
from thinned.models.dropout.prefix_features import prefix_features
from thinned.models.uncertainty.nearest_rows import NearestRows

__all__ = ["Curve", "Region", "by_region", "curves", "grown", "truth"]

Array = npt.NDArray[Any]
NOISE = 0.1
ROWS = 200
MEMBERS = 5
PASSES = 512
STEPS = 3000
REGIONS = {"on the rows": (1.1, 2.9), "between": (0.0, 0.7), "outside": (3.5, 5.0)}


class Curve(NamedTuple):
    """Mean and standard deviation of what networks answer, (B,) each."""

    mean: Array
    deviation: Array


@dataclass(frozen=True)
class Region:
    """Where it is; root mean squared error of the mean, mean deviation, and how often ± 1.96 of it holds the truth."""

    name: str
    error: float
    deviation: float
    held: float


def truth(x: Array) -> Array:
    """The function, without noise."""
    found: Array = np.sin(2 * x) + 0.3 * x
    return found


def points(region: str) -> Array:
    """Where a region is looked at, (B, 1)."""
    side = np.linspace(*REGIONS[region], 60)
    return np.concatenate([-side[::-1], side])[:, np.newaxis].astype(np.float32)


def rows(count: int, seed: int) -> tuple[Array, Array]:
    """Inputs (B, 1), and the function with noise (B, 1)."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(1, 3, (count, 1)) * draw.choice([-1, 1], (count, 1))
    return x.astype(np.float32), (truth(x) + NOISE * draw.normal(size=x.shape)).astype(np.float32)


def network(x: Array, y: Array, seed: int, *, hidden: int, rate: float, steps: int = STEPS) -> Any:
    """Layers of 64 units with dropout behind each, trained by squared error."""
    import keras

    keras.utils.set_random_seed(seed)
    tensor = inputs = keras.Input((1,), name="x")
    for _ in range(hidden):
        tensor = keras.layers.Dense(64, "relu")(tensor)
        tensor = keras.layers.Dropout(rate)(tensor) if rate else tensor
    model = keras.Model(inputs, keras.layers.Dense(1)(tensor))
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4), "mean_squared_error", steps_per_execution=50)
    batch = np.random.default_rng(seed).integers(0, len(x), steps * 50)
    model.fit(x[batch], y[batch], batch_size=50, shuffle=False, verbose=0)
    return model


def curves(seed: int, *, count: int = ROWS, steps: int = STEPS) -> dict[str, dict[str, Curve]]:
    """For each way to answer, by region, what it says; for `ood` p-values in the place of deviations."""
    x, y = rows(count, seed)
    found: dict[str, dict[str, Curve]] = {}
    for hidden in (1, 2):
        model = enable_mc_dropout(network(x, y, seed, hidden=hidden, rate=0.1, steps=steps))
        passes = {
            name: model.sample({"x": points(name)}, n_samples=PASSES, seed=seed)[model.outputs[0].name][:, :, 0]
            for name in REGIONS
        }
        found[f"passes, {hidden} hidden"] = {n: Curve(p.mean(axis=0), p.std(axis=0)) for n, p in passes.items()}
    told = prefix_features(model, model.inputs, model.split.frontier)
    reference = told.of(model.prefix({"x": x}))
    nearest = NearestRows.of(reference, told.scale(reference), seed=seed)
    fresh = told.of(model.prefix({"x": rows(ROWS, seed + 1000)[0]}))
    nearest = nearest.compared_with(nearest.distances(fresh), np.arange(len(fresh)))
    found["ood"] = {
        name: Curve(points(name)[:, 0], nearest.answer(told.of(model.prefix({"x": points(name)}))).p_value)
        for name in REGIONS
    }
    found[f"ensemble of {MEMBERS}"] = ensemble(x, y, seed, steps)
    return found


def ensemble(x: Array, y: Array, seed: int, steps: int = STEPS) -> dict[str, Curve]:
    """By region, what networks of two hidden layers without dropout answer, each trained on all rows."""
    members = [network(x, y, 100 * seed + i, hidden=2, rate=0.0, steps=steps) for i in range(MEMBERS)]
    found = {}
    for name in REGIONS:
        answers = np.stack([member.predict(points(name), verbose=0)[:, 0] for member in members])
        found[name] = Curve(answers.mean(axis=0), answers.std(axis=0, ddof=1))
    return found


def by_region(found: Sequence[dict[str, Curve]]) -> list[Region]:
    """Scores of several repeats, by region."""
    scored = []
    for name in REGIONS:
        right = truth(points(name)[:, 0].astype(np.float64))
        off = np.array([curve[name].mean - right for curve in found])
        wide = np.array([curve[name].deviation for curve in found])
        held = float((np.abs(off) <= 1.96 * wide).mean())
        scored.append(Region(name, float(np.sqrt((off**2).mean())), float(wide.mean()), held))
    return scored


def grown(counts: Sequence[int], seed: int, steps: int = STEPS) -> dict[int, tuple[Region, Region]]:
    """By number of rows, what passes (two hidden layers) and an ensemble say on the rows."""
    found = {}
    for count in counts:
        x, y = rows(count, seed)
        model = enable_mc_dropout(network(x, y, seed, hidden=2, rate=0.1, steps=steps))
        name = "on the rows"
        passes = model.sample({"x": points(name)}, n_samples=PASSES, seed=seed)[model.outputs[0].name][:, :, 0]
        every = {region: Curve(passes.mean(axis=0), passes.std(axis=0)) for region in REGIONS}
        own = by_region([{**every}])[0]
        found[count] = own, by_region([ensemble(x, y, seed, steps)])[0]
    return found
