"""The laws of passes, on a model of every family that must serve."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from tests.long_trials import some_long
from tests.zoo import FAMILIES, SITES, build
from thinned.models.compat.keras import flatten_layers
from thinned.models.dropout import (
    BatchItem,
    StochasticModel,
    check_laws,
    check_untouched,
    enable_mc_dropout,
    example_inputs,
)
from thinned.models.sampling import BLOCK, Sampling
from thinned.models.uncertainty import BlockStatistics

ROWS = 5
HALF = {"mixed_float16": 3e-3, "mixed_bfloat16": 3e-2}


class Made(NamedTuple):
    model: Any
    stochastic: StochasticModel
    inputs: dict[str, np.ndarray]
    before: list[np.ndarray]


@cache
def make(family: str) -> Made:
    model = build(family)
    before = [v.numpy() for v in model.variables]
    stochastic = enable_mc_dropout(model)
    return Made(model, stochastic, stochastic.examples.rows(ROWS, seed=2), before)


# Four layers of steps, each with loops in every graph, take half as long as all the others together.
HEAVY = ("recurrent",)


# What takes a graph of its own for each family is tried with these, and with all by `make test-long`.
UNLIKE = {
    "convolutional",
    "transformer",
    "self_normalising",
    "registered",
    "text",
    "mixed_bfloat16",
    "lstm",
    "skip",
}
SOON = some_long(FAMILIES, FAMILIES.keys() - UNLIKE)


@pytest.fixture(params=some_long(FAMILIES, HEAVY))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def rows(inputs: dict[str, np.ndarray], which: slice) -> dict[str, np.ndarray]:
    return {name: x[which] for name, x in inputs.items()}


def passes_of(made: Made, *, first: int, count: int, seed: int) -> dict[str, np.ndarray]:
    """Passes `first` and on, drawn by themselves."""
    item = BatchItem(ROWS, seed, first, count, inputs=made.inputs, keep_passes=True)
    (drawn,) = made.stochastic.draw([item])
    return {name: blocks.passes for name, blocks in drawn.items() if blocks.passes is not None}


def assert_close(family: str, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Equal to rounding: kernels may add up in another order for another number of rows."""
    assert a.keys() == b.keys()
    for name in a:
        scale = np.abs(a[name]).max()
        np.testing.assert_allclose(b[name], a[name], rtol=0, atol=HALF.get(family, 5e-6) * scale)


def assert_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_deterministic_answer_is_keras_own(family: str) -> None:
    made = make(family)
    assert_close(family, made.stochastic.reference(made.inputs), made.stochastic.predict(made.inputs))


def test_passes_have_the_documented_shape(family: str) -> None:
    made = make(family)
    passes = made.stochastic.sample(made.inputs, n_samples=3, seed=0)
    answer = made.stochastic.predict(made.inputs)
    assert passes.keys() == answer.keys() == {output.name for output in made.stochastic.outputs}
    for name, values in passes.items():
        assert values.shape == (3, *answer[name].shape)
        assert values.dtype == answer[name].dtype == np.float32


def test_same_seed_same_passes_another_seed_differs(family: str) -> None:
    made = make(family)
    first = made.stochastic.sample(made.inputs, n_samples=6, seed=11)
    assert_equal(first, made.stochastic.sample(made.inputs, n_samples=6, seed=11))
    other = made.stochastic.sample(made.inputs, n_samples=6, seed=12)
    assert any((first[name] != other[name]).any() for name in first)


def test_large_seeds_are_told_apart() -> None:
    made = make("sequential")
    last = made.stochastic.sample(made.inputs, n_samples=6, seed=2**53 - 1)
    before_last = made.stochastic.sample(made.inputs, n_samples=6, seed=2**53 - 2)
    assert any((last[name] != before_last[name]).any() for name in last)


def test_first_ten_of_a_hundred(family: str) -> None:
    made = make(family)
    ten = made.stochastic.sample(made.inputs, n_samples=10, seed=5)
    hundred = made.stochastic.sample(made.inputs, n_samples=100, seed=5)
    assert_close(family, ten, {name: values[:10] for name, values in hundred.items()})
    later = passes_of(made, first=53, count=7, seed=5)
    assert_close(family, later, {name: values[53:60] for name, values in hundred.items()})


def test_neighbours_do_not_matter(family: str) -> None:
    made = make(family)
    together = made.stochastic.sample(made.inputs, n_samples=8, seed=5)
    alone = made.stochastic.sample(rows(made.inputs, slice(3, 4)), n_samples=8, seed=5)
    assert_close(family, alone, {name: values[:, 3:4] for name, values in together.items()})
    answer = made.stochastic.predict(made.inputs)
    one = made.stochastic.predict(rows(made.inputs, slice(3, 4)))
    assert_close(family, one, {name: values[3:4] for name, values in answer.items()})


@pytest.mark.parametrize("row_passes", [1, 40])
def test_pieces_do_not_matter(family: str, row_passes: int) -> None:
    """Whatever is computed at once, in pieces of rows and of whole blocks, the passes and statistics are the same."""
    made = make(family)
    whole = made.stochastic.sample(made.inputs, n_samples=BLOCK + 6, seed=5)
    pieces = made.stochastic.sample(made.inputs, n_samples=BLOCK + 6, seed=5, row_passes=row_passes)
    assert_close(family, whole, pieces)
    asked: Any = {"n_samples": BLOCK + 6, "seed": 5, "row_passes": row_passes}
    summary = made.stochastic.summary(made.inputs, **asked, estimator="passes")
    for name, values in pieces.items():
        passes = values.astype("float64")
        scale = np.abs(passes).max()
        np.testing.assert_allclose(summary[name].mean, passes.mean(axis=0), rtol=1e-5, atol=1e-6 * scale)
        np.testing.assert_allclose(summary[name].variance, passes.var(axis=0, ddof=1), rtol=1e-4, atol=1e-9 * scale**2)


def test_no_call_holds_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("convolutional")
    calls: list[int] = []
    draw = StochasticModel.draw

    def counted(self: StochasticModel, items: Any, **named: Any) -> Any:
        calls.append(sum(item.rows for item in items) * max(item.count for item in items))
        return draw(self, items, **named)

    monkeypatch.setattr(StochasticModel, "draw", counted)
    for row_passes in (1, 40, 100, 10_000):
        calls.clear()
        made.stochastic.sample(made.inputs, n_samples=200, seed=5, row_passes=row_passes)
        assert sum(calls) == 200 * ROWS
        assert max(calls) <= row_passes


def test_passes_differ_and_no_variable_changes(family: str) -> None:
    made = make(family)
    passes = made.stochastic.sample(made.inputs, n_samples=50, seed=1)
    varying = {name for name, values in passes.items() if np.ptp(values, axis=0).max() > 0}
    assert varying == (set(passes) - {"sure"})
    for before, variable in zip(made.before, build_variables(family, made), strict=True):
        np.testing.assert_array_equal(before, variable.numpy())


def build_variables(family: str, made: Made) -> list[Any]:
    """The variables of a model that Keras itself never called: its recurrent layers advance their generators."""
    if family in ("lstm", "recurrent", "conv_lstm", "tagger"):
        fresh = build(family)
        stochastic = enable_mc_dropout(fresh, input_specs=made.stochastic.inputs)
        stochastic.predict(made.inputs)
        stochastic.sample(made.inputs, n_samples=3, seed=0)
        return fresh.variables
    return made.model.variables


def test_the_model_is_left_as_it_was(family: str) -> None:
    made = make(family)
    for layer in flatten_layers(made.model):
        assert "call" not in layer.__dict__
        assert not any(name.startswith("get_") for name in layer.__dict__)


def test_two_threads_get_what_each_would_alone(family: str) -> None:
    made = make(family)
    seeds = [1, 2, 3, 4]
    alone = [made.stochastic.sample(made.inputs, n_samples=4, seed=seed) for seed in seeds]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda s: made.stochastic.sample(made.inputs, n_samples=4, seed=s), seeds * 5))
    for i, passes in enumerate(together):
        assert_equal(alone[i % len(seeds)], passes)


def test_the_proof_at_import_holds(family: str) -> None:
    made = make(family)
    check_laws(made.stochastic)
    check_untouched(made.stochastic, made.model)


class Opaque(keras.Model):
    """The same model behind a call that nobody can look into: all of it is suffix."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.inner(inputs, training=training)


@pytest.mark.parametrize("family", SOON)
def test_what_runs_once_does_not_change_the_passes(family: str) -> None:
    """The graph taken apart into prefix and suffix draws what the whole model draws on every row and pass."""
    if family == "named_inputs_and_outputs":
        pytest.skip("a subclassed model takes its inputs in an order of its own")
    made = make(family)
    opaque = Opaque(made.model)
    x = list(made.inputs.values())
    opaque(x[0] if len(x) == 1 else x)
    whole = enable_mc_dropout(opaque, input_specs=made.stochastic.inputs)
    assert whole.split.prefix_share == 0
    apart = made.stochastic.sample(made.inputs, n_samples=40, seed=3).values()
    together = whole.sample(made.inputs, n_samples=40, seed=3).values()
    for i, (a, b) in enumerate(zip(apart, together, strict=True)):
        assert_close(family, {str(i): a}, {str(i): b})


@pytest.mark.parametrize("family", SITES)
def test_every_site_is_found_once(family: str) -> None:
    assert [(site.kind, site.calls) for site in make(family).stochastic.sites] == SITES[family]


def test_the_first_use_may_come_from_two_threads_at_once() -> None:
    model = build("nested")
    stochastic = enable_mc_dropout(model)
    inputs = example_inputs(stochastic.inputs, 2)
    with ThreadPoolExecutor(2) as threads:
        a, b = threads.map(lambda _: stochastic.sample(inputs, n_samples=3, seed=9), range(2))
    assert_equal(a, b)


@pytest.mark.parametrize(
    "family", ["convolutional", "nested", "lstm", "masked_embedding", "self_normalising", "registered"]
)
def test_independent_passes_obey_the_same_laws(family: str) -> None:
    made = make(family)
    sampling: Sampling = "independent"
    whole = made.stochastic.sample(made.inputs, n_samples=40, seed=5, sampling=sampling)
    stratified = made.stochastic.sample(made.inputs, n_samples=40, seed=5)
    assert any((whole[name] != stratified[name]).any() for name in whole)
    ten = made.stochastic.sample(made.inputs, n_samples=10, seed=5, sampling=sampling)
    assert_close(family, ten, {name: values[:10] for name, values in whole.items()})
    alone = made.stochastic.sample(rows(made.inputs, slice(3, 4)), n_samples=40, seed=5, sampling=sampling)
    assert_close(family, alone, {name: values[:, 3:4] for name, values in whole.items()})
    pieces = made.stochastic.sample(made.inputs, n_samples=40, seed=5, sampling=sampling, row_passes=7 * ROWS)
    assert_close(family, whole, pieces)


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
@pytest.mark.parametrize("from_frontier", [False, True])
@pytest.mark.parametrize("family", ["named_inputs_and_outputs", "convolutional", "lstm"])
def test_block_statistics_are_those_of_the_passes(family: str, from_frontier: bool, sampling: Sampling) -> None:
    made = make(family)
    rows_of = {"frontier": made.stochastic.prefix(made.inputs)} if from_frontier else {"inputs": made.inputs}
    item = BatchItem(ROWS, 5, 3, 70, keep_passes=True, **rows_of)
    (drawn,) = made.stochastic.draw([item], sampling=sampling, estimator="passes")
    for blocks in drawn.values():
        assert blocks.counts.tolist() == [29, 32, 9]
        assert blocks.passes is not None
        expected = BlockStatistics.of_passes(blocks.passes, first=3)
        np.testing.assert_array_equal(blocks.counts, expected.counts)
        np.testing.assert_allclose(blocks.mean, expected.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(blocks.deviations, expected.deviations, rtol=1e-3, atol=1e-9)
        for block, one in zip(blocks.blocks(), (29, 32, 9), strict=True):
            assert block.count == one
            assert block.passes is not None
            np.testing.assert_allclose(block.mean[0], block.passes.astype("float64").mean(axis=0), rtol=1e-5, atol=1e-6)


def test_graphs_are_traced_once_whatever_the_sizes() -> None:
    stochastic = enable_mc_dropout(build("convolutional"))
    check_laws(stochastic)
    for sampling in ("stratified", "independent"):
        stochastic.summary(example_inputs(stochastic.inputs, 2), n_samples=4, seed=0, sampling=sampling)
        stochastic.summary(example_inputs(stochastic.inputs, 2), n_samples=4, seed=0, sampling=sampling, row_passes=2)
    before = stochastic.graphs.traced
    for rows_asked, n in ((1, 2), (1, 100), (17, 33), (64, 10)):
        x = example_inputs(stochastic.inputs, rows_asked)
        stochastic.predict(x)
        for sampling in ("stratified", "independent"):
            stochastic.summary(x, n_samples=n, seed=n, sampling=sampling, row_passes=200)
    assert stochastic.graphs.traced == before


NOT_AHEAD = {
    "no noise is needed": ("sequential_without_input", "skip", "certain_output", "volumes", "drop_path", "augmented"),
    "nor here": ("forced", "spectral"),
    "it hangs on the rows": ("images_of_any_size", "masked_embedding", "time_distributed_any_length", "tagger"),
    "it is drawn beside a loop": ("lstm", "conv_lstm", "recurrent"),
}


@pytest.mark.parametrize("family", SOON)
def test_noise_drawn_ahead_gives_the_answers_of_its_seed(family: str) -> None:
    """Bit for bit, in one call and in pieces, for the first passes and for later ones."""
    made = make(family)
    ahead = made.stochastic.draws_ahead()
    if ahead is None:
        assert any(family in names for names in NOT_AHEAD.values())
        return
    while (noise := ahead.take(40)) is None:
        ahead.fill()
    frontier = made.stochastic.prefix(made.inputs)
    for first, count in ((0, 1), (0, 40), (0, noise.passes), (33, 7)):
        for rows in ({"inputs": made.inputs}, {"frontier": frontier}):
            plain = BatchItem(ROWS, noise.seed, first, count, **rows)
            (told,) = made.stochastic.draw([plain])
            (given,) = made.stochastic.draw([dataclasses.replace(plain, noise=noise)])
            for name, blocks in told.items():
                for field in ("mean", "deviations", "probabilities", "entropy", "within"):
                    np.testing.assert_array_equal(getattr(blocks, field), getattr(given[name], field))


def test_a_frontier_stays_as_it_was_when_its_inputs_change() -> None:
    """The frontier of a model that is all suffix is its inputs."""
    made = make("subclassed")
    inputs = {name: np.tile(x, (4096, *[1] * (x.ndim - 1))) for name, x in made.inputs.items()}
    frontier = made.stochastic.prefix(inputs)
    before = [tensor.numpy() for tensor in frontier.tensors]
    for x in inputs.values():
        x += 1
    for tensor, values in zip(frontier.tensors, before, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), values)
