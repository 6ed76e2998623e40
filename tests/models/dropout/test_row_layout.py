"""Values without rows, and rows that are not on the first axis: served with Keras's own mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zoo.layouts import LAYOUTS, DropConnect, drop_connect
from thinned.models.audit.run import audit
from thinned.models.dropout import (
    BatchItem,
    StochasticModel,
    check_against_keras,
    check_laws,
    check_untouched,
    enable_mc_dropout,
)
from thinned.models.dropout.noise.row_layout import RowAxis, find_row_axis


def enable(build: Callable[[], Any]) -> tuple[Any, StochasticModel]:
    keras.utils.set_random_seed(3)
    model = build()
    return model, enable_mc_dropout(model)


@pytest.mark.parametrize("build", LAYOUTS.values(), ids=LAYOUTS)
def test_passes_are_those_of_keras(build: Callable[[], Any]) -> None:
    model, stochastic = enable(build)
    check_untouched(stochastic, model)
    check_against_keras(stochastic, stochastic.examples.rows(1))
    check_laws(stochastic)
    # What is joined, or drawn from a frontier, is what is drawn alone.
    rows = [stochastic.examples.rows(size, seed=size) for size in (2, 3)]
    for item, seeds in (("inputs", (5, 5)), ("frontier", (5, 5)), ("inputs", (5, 6))):
        given_ = rows if item == "inputs" else [stochastic.prefix(x) for x in rows]
        items = [
            BatchItem(len(next(iter(x.values()))), seed, 0, 40, **{item: g}, keep_passes=True)
            for x, g, seed in zip(rows, given_, seeds, strict=True)
        ]
        for part, x, seed in zip(stochastic.draw(items), rows, seeds, strict=True):
            for name, passes in stochastic.sample(x, n_samples=40, seed=seed).items():
                np.testing.assert_allclose(part[name].passes, passes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropped_weights_have_their_closed_form(rate: float) -> None:
    inputs = keras.Input((4,))
    stochastic = enable_mc_dropout(keras.Model(inputs, DropConnect(3, rate)(inputs)))
    x = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]], np.float32)
    passes = next(iter(stochastic.sample({stochastic.inputs[0].name: x}, n_samples=20_000, seed=1).values()))
    due = (x**2).sum(axis=1, keepdims=True) * rate / (1 - rate)
    np.testing.assert_allclose(passes.var(axis=0), np.repeat(due, 3, axis=1), rtol=0.04)
    np.testing.assert_allclose(passes.mean(axis=0), np.repeat(x.sum(axis=1, keepdims=True), 3, axis=1), rtol=0.02)
    # One pass is one thinned kernel, whichever row it meets: the second row's answer is that of each of its weights.
    assert np.abs(np.corrcoef(passes[:, 0, 0], passes[:, 1, 0])[0, 1]) > 0.8
    assert np.abs(np.corrcoef(passes[:, 0, 0], passes[:, 0, 1])[0, 1]) < 0.05


def test_an_audit_says_which_noise_has_no_rows() -> None:
    _, stochastic = enable(drop_connect)
    found = audit(stochastic)
    assert [finding.code for finding in found.findings if finding.level != "note"] == []
    assert "noise-without-rows" in [finding.code for finding in found.findings]
    assert "no active site" not in found.verdict


@settings(max_examples=60, deadline=None)
@given(
    tail=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    axis=st.integers(0, 3),
    folded=st.integers(1, 4),
    inner=st.booleans(),
)
def test_rows_are_found_and_moved_to_the_front_and_back(tail: list[int], axis: int, folded: int, inner: bool) -> None:
    axis = min(axis, len(tail))
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((3, folded, *tail)).astype(np.float32)

    def laid(which: list[int]) -> Any:
        x = rows[which]
        x = np.swapaxes(x, 0, 1) if inner else x
        x = x.reshape(folded * len(which), *tail)
        return np.moveaxis(x, 0, axis)

    found = find_row_axis(laid([0, 1]), laid([1, 0]), laid([0, 1, 2]).shape)
    assert found == RowAxis(axis, inner and folded > 1)
    x = tf.constant(laid([0, 1, 2]))
    first = found.rows_first(x, tf.constant(3))
    np.testing.assert_array_equal(first, rows.reshape(3 * folded, *tail))
    np.testing.assert_array_equal(found.rows_back(first, tf.constant(3)), x)


def test_what_has_no_rows_is_told_from_what_has() -> None:
    table = np.arange(6.0).reshape(1, 6)
    assert find_row_axis(table, table, table.shape) is None
    assert find_row_axis(np.float32(3), np.float32(3), ()) is None
    zeros = np.zeros((4, 2))  # two axes fit: values do not tell, the first is taken
    assert find_row_axis(zeros, zeros, (6, 3)) == RowAxis(0)
