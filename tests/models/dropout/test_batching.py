"""Several requests in one call: each gets what it would get alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.zoo import build
from thinned.models.dropout import Ask, Sampling, StochasticModel, Summaries, enable_mc_dropout, example_inputs

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


def check(whole: Summaries, part: Summaries) -> None:
    np.testing.assert_array_equal(whole.counts, part.counts)
    for name, expected in whole.outputs.items():
        for a, b in zip(expected, part.outputs[name], strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                scale = np.abs(a).max()
                np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seeds", [(4, 4, 4), (4, 9, 4)], ids=["shared", "several"])
def test_together_is_what_each_gets_alone(family: str, sampling: Sampling, seeds: tuple[int, ...]) -> None:
    stochastic = make(family)
    counts, sizes = (10, 70, 33), (1, 3, 2)
    asks, alone = [], []
    for i, (seed, count, size) in enumerate(zip(seeds, counts, sizes, strict=True)):
        x = example_inputs(stochastic.inputs, size, seed=i)
        asks.append(Ask(size, seed, 0, count, inputs=x))
        (expected,) = stochastic.summarise(x, n_samples=count, seed=seed, sampling=sampling)
        alone.append(expected)
    for expected, part in zip(alone, stochastic.summarise_together(asks, sampling=sampling), strict=True):
        check(expected, part)


@pytest.mark.parametrize("family", ["convolutional", "folded_rows"])
def test_passes_can_go_on_from_a_frontier(family: str) -> None:
    stochastic = make(family)
    rows = [example_inputs(stochastic.inputs, size, seed=size) for size in (2, 3)]
    frontiers = [stochastic.prefix(x) for x in rows]
    asks = [Ask(2, 1, 32, 40, frontier=frontiers[0]), Ask(3, 8, 64, 5, frontier=frontiers[1])]
    for ask, x, part in zip(asks, rows, stochastic.summarise_together(asks), strict=True):
        (expected,) = stochastic.summarise(x, n_samples=ask.count, seed=ask.seed, first_pass=ask.first)
        check(expected, part)
    (one,) = stochastic.summarise_together(asks[:1])
    (expected,) = stochastic.summarise(rows[0], n_samples=40, seed=1, first_pass=32)
    check(expected, one)


def test_an_ask_that_makes_no_sense_is_refused() -> None:
    x = example_inputs(make("subclassed").inputs, 1)
    with pytest.raises(ValueError, match="multiple of 32"):
        Ask(1, 0, 5, 3, inputs=x)
    with pytest.raises(ValueError, match="both or neither"):
        Ask(1, 0, 0, 3)
