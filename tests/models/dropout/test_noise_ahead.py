"""Noise drawn before it is asked for: within its bounds, each seed once, as many passes as are asked for."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.noise_ahead import LEAST_PASSES, MOST_SEEDS, NoiseAhead
from thinned.models.sampling import BLOCK

L = keras.layers
UNITS = 64


def network(dropout: Any) -> StochasticModel:
    inputs = keras.Input((8,), name="x")
    return enable_mc_dropout(keras.Model(inputs, L.Dense(1)(L.Dense(4, "relu")(dropout(L.Dense(UNITS)(inputs))))))


@cache
def plain() -> StochasticModel:
    return network(L.Dropout(0.3))


def filled(ahead: NoiseAhead) -> NoiseAhead:
    while ahead.wanted:
        ahead.fill()
    return ahead


def new(most_bytes: int) -> NoiseAhead:
    return NoiseAhead(plain().graphs, "all", most_bytes)


@settings(max_examples=20, deadline=None)
@given(
    most_passes=st.integers(6 * BLOCK, 4096),
    asked=st.lists(st.tuples(st.integers(1, 1500), st.integers(0, 12)), min_size=1, max_size=12),
)
def test_it_keeps_within_its_bytes_and_gives_no_seed_twice(most_passes: int, asked: list[tuple[int, int]]) -> None:
    most = most_passes * UNITS
    ahead, seeds = new(most), []
    for passes, pieces in asked:
        noise = ahead.take(passes)
        if noise is not None:
            assert noise.passes >= passes
            assert sum(tensor.shape[0] * tensor.shape[2] for tensor in noise.tensors) == noise.passes * UNITS
            seeds.append(noise.seed)
        for _ in range(pieces):
            ahead.fill()
            assert ahead.held_bytes <= most
    assert len(set(seeds)) == len(seeds)


def test_it_is_full_at_some_time_and_wants_more_after_a_request() -> None:
    ahead = filled(new(64 << 20))
    assert ahead.held_bytes == MOST_SEEDS * LEAST_PASSES * UNITS
    assert ahead.take(1) is not None
    assert ahead.wanted


def test_it_draws_more_passes_once_they_are_asked_for_and_fewer_again_later() -> None:
    ahead = filled(new(64 << 20))
    assert ahead.take(300) is None
    found = filled(ahead).take(300)
    assert found is not None
    assert found.passes == 320
    for _ in range(100):
        filled(ahead).take(10)
    found = filled(ahead).take(10)
    assert found is not None
    assert found.passes == LEAST_PASSES


def test_more_passes_than_it_ever_keeps_change_nothing() -> None:
    ahead = filled(new(64 << 20))
    assert ahead.take(100_000) is None
    assert ahead.held_bytes == MOST_SEEDS * LEAST_PASSES * UNITS


def test_noise_that_does_not_fit_is_not_drawn_ahead() -> None:
    ahead = new(LEAST_PASSES * UNITS)
    assert not ahead.wanted
    assert ahead.take(1) is None
    assert plain().draws_ahead(LEAST_PASSES * UNITS) is None


def test_a_model_without_sites_draws_nothing_ahead() -> None:
    assert network(L.Dropout(0.0)).draws_ahead() is None
