"""Several requests in one call: each gets what it would get alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.zoo import build
from thinned.models.dropout import BatchItem, StochasticModel, enable_mc_dropout, example_inputs
from thinned.models.sampling import Sampling
from thinned.models.uncertainty import BlockStatistics

FAMILIES = [
    "convolutional",
    "named_inputs_and_outputs",
    "transformer",
    "subclassed",
    "lstm",
    "folded_rows",
    "registered",
]


@cache
def make(family: str) -> StochasticModel:
    classes = {"convolutional": {"dense": "probabilities"}, "named_inputs_and_outputs": {"kind": "logits"}}
    stochastic = enable_mc_dropout(build(family))
    names = [output.name for output in stochastic.outputs]
    wanted = {name: "probabilities" for name in names if name == "kind" or family == "convolutional"}
    return enable_mc_dropout(build(family), classes=wanted) if classes.get(family) else stochastic


def check(whole: dict[str, BlockStatistics], part: dict[str, BlockStatistics]) -> None:
    assert whole.keys() == part.keys()
    for name, expected in whole.items():
        np.testing.assert_array_equal(expected.counts, part[name].counts)
        for field in ("mean", "deviations", "probabilities", "entropy", "passes"):
            a, b = getattr(expected, field), getattr(part[name], field)
            assert (a is None) == (b is None)
            if a is not None:
                scale = np.abs(a).max()
                np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seeds", [(4, 4, 4), (4, 9, 4)], ids=["same draw", "several"])
def test_together_is_what_each_gets_alone(family: str, sampling: Sampling, seeds: tuple[int, ...]) -> None:
    model = make(family)
    items = [
        BatchItem(
            size, seed, 0, count, inputs=example_inputs(model.inputs, size, seed=i), keep_passes=family == "transformer"
        )
        for i, (seed, count, size) in enumerate(zip(seeds, (10, 70, 33), (1, 3, 2), strict=True))
    ]
    alone = [model.draw([item], sampling=sampling)[0] for item in items]
    for expected, part in zip(alone, model.draw(items, sampling=sampling), strict=True):
        check(expected, part)


def test_passes_are_kept_for_those_alone_who_ask() -> None:
    model = make("convolutional")
    items = [BatchItem(1, 4, 0, n, inputs=example_inputs(model.inputs, 1), keep_passes=n == 9) for n in (5, 9)]
    without, with_passes = (next(iter(part.values())) for part in model.draw(items))
    assert without.passes is None
    assert with_passes.passes is not None
    assert with_passes.passes.shape[:2] == (9, 1)


@pytest.mark.parametrize("family", ["convolutional", "folded_rows"])
def test_passes_can_go_on_from_a_frontier(family: str) -> None:
    model = make(family)
    rows = [example_inputs(model.inputs, size, seed=size) for size in (2, 3)]
    frontiers = [model.prefix(x) for x in rows]
    items = [BatchItem(2, 1, 32, 40, frontier=frontiers[0]), BatchItem(3, 8, 64, 5, frontier=frontiers[1])]
    fresh = [BatchItem(i.rows, i.seed, i.first, i.count, inputs=x) for i, x in zip(items, rows, strict=True)]
    expected = [model.draw([item])[0] for item in fresh]
    for whole, part in zip(expected, model.draw(items), strict=True):
        check(whole, part)
    check(expected[0], model.draw(items[:1])[0])


def test_an_item_that_makes_no_sense_is_refused() -> None:
    model = make("subclassed")
    x = example_inputs(model.inputs, 1)
    with pytest.raises(ValueError, match="multiples of 32"):
        model.draw([BatchItem(1, 0, 5, 3, inputs=x), BatchItem(1, 1, 0, 3, inputs=x)])
    with pytest.raises(ValueError, match="both or neither"):
        BatchItem(1, 0, 0, 3)
