"""Rows that are made up for a model that was never seen: valid for it, the same again, and true reasons otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zoo.inputs import DEMANDING, log_of_a_feature, short_positions, table_for_floats, table_of_years
from thinned.models.card import InputSpec
from thinned.models.dropout import (
    ExampleRows,
    check_against_keras,
    check_laws,
    check_untouched,
    check_weights,
    enable_mc_dropout,
    example_inputs,
    find_examples,
    given_examples,
    read_signature,
)
from thinned.models.errors import InputError, UnsupportedModelError

L, ops = keras.layers, keras.ops


@pytest.mark.parametrize("build", DEMANDING.values(), ids=DEMANDING)
def test_rows_are_made_up_that_a_demanding_model_answers(build: Callable[[], Any]) -> None:
    keras.utils.set_random_seed(4)
    model = build()
    stochastic = enable_mc_dropout(model)
    assert stochastic.examples.problem is None
    answers = stochastic.predict(stochastic.examples.rows(16))
    assert all(np.isfinite(values).all() for values in answers.values())
    check_untouched(stochastic, model)
    check_against_keras(stochastic, stochastic.examples.rows(1))
    check_laws(stochastic)


def test_an_integer_lies_in_the_table_that_reads_it() -> None:
    model = table_of_years()
    rows = find_examples(model, read_signature(model)).rows(200)
    (years,) = rows.values()
    assert years.min() == 1990
    assert years.max() == 2029
    model = table_for_floats()
    (ids,) = find_examples(model, read_signature(model)).rows(200).values()
    assert set(np.unique(ids)) == set(range(9))
    assert ids.dtype == np.float32


def years_without_others() -> Any:
    """A table that refuses every integer but its own, in an embedding; and one that reads some of them again."""
    year = keras.Input((2,), dtype="int64", name="year")
    known = L.IntegerLookup(vocabulary=[1999, 2004, 2008, 7], num_oov_indices=0)(year)
    again = L.IntegerLookup(vocabulary=[2008, 1999, 3], num_oov_indices=0)(year)
    hidden = L.Flatten()(L.Concatenate()([L.Embedding(4, 3)(known), L.Embedding(3, 3)(again)]))
    return keras.Model(year, L.Dense(1)(L.Dropout(0.4)(hidden)))


def test_a_table_without_others_is_tried_with_what_it_knows() -> None:
    model = enable_mc_dropout(years_without_others())
    assert model.examples.problem is None
    (years,) = model.examples.rows(64).values()
    assert set(np.unique(years)) == {1999, 2008}
    assert years.dtype == np.int64
    (recipe,) = model.examples.recipes
    assert recipe.typical in (1999, 2008)
    assert recipe.describe() == f"integers of {recipe.integers[0]}, {recipe.integers[1]}"
    check_laws(model)


def test_the_same_recipe_makes_the_same_rows() -> None:
    recipes = ExampleRows(find_examples(short_positions(), read_signature(short_positions())).recipes)
    for count in (1, 3, 16, 40):
        for name, x in recipes.rows(count).items():
            assert np.array_equal(x, recipes.rows(64)[name][:count])
    assert not np.array_equal(*(next(iter(recipes.rows(3, seed=seed).values())) for seed in (0, 1)))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.one_of(st.none(), st.integers(1, 4)), max_size=3),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "int32", "uint8", "int64", "bool"]),
    rows=st.integers(1, 20),
)
def test_made_up_rows_fit_their_input(shape: list[int | None], dtype: str, rows: int) -> None:
    (x,) = example_inputs([InputSpec(name="x", shape=tuple(shape), dtype=dtype)], rows).values()
    assert len(x) == rows
    assert x.ndim == len(shape) + 1
    assert all(n in (None, m) for n, m in zip(shape, x.shape[1:], strict=True))
    assert np.isfinite(x.astype(np.float64)).all()


def test_what_no_made_up_row_fits_is_told_with_what_keras_said() -> None:
    inputs = keras.Input((4,))
    x = ops.reshape(inputs, (5, 2, 2))  # a number of rows, written into the model
    model = keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Flatten()(x))))
    found = find_examples(model, read_signature(model))
    assert found.problem is not None
    assert "only for batches of 5 rows" in found.problem


def test_rows_of_the_user_are_used_and_what_is_not_finite_left_out() -> None:
    model = log_of_a_feature()
    signature = read_signature(model)
    (name,) = (spec.name for spec in signature.inputs)
    x = np.array([[1, 2, 3, 4], [-1, 1, 1, 1], [5, 6, 7, 8]], np.float32)
    examples = given_examples(model, signature, {name: x})
    assert np.array_equal(examples.rows(4)[name], x[[0, 2, 0, 2]])
    assert enable_mc_dropout(model, examples=examples).examples.describe() == "2 rows of the data given at import"
    with pytest.raises(InputError, match="finite numbers"):
        given_examples(model, signature, {name: -x[:1]})
    ids = table_of_years()
    with pytest.raises(InputError, match=r"40 is not in \[0, 40\)"):
        given_examples(ids, read_signature(ids), {read_signature(ids).inputs[0].name: np.array([[2030]])})


def test_a_length_that_is_open_may_be_fixed() -> None:
    model = short_positions()
    (own,) = read_signature(model).inputs
    fixed = enable_mc_dropout(model, input_specs=[InputSpec(name=own.name, shape=(7, 4), dtype="")])
    assert fixed.inputs == (InputSpec(name=own.name, shape=(7, 4), dtype="float32"),)
    check_laws(fixed)
    with pytest.raises(UnsupportedModelError, match="Only lengths"):
        enable_mc_dropout(model, input_specs=[InputSpec(name=own.name, shape=(7, 5), dtype="")])


def test_a_weight_that_is_nan_is_called_that() -> None:
    model = log_of_a_feature()
    check_weights(model)
    model.layers[-1].bias.assign([np.nan])
    with pytest.raises(UnsupportedModelError, match=r"/bias' of the model holds NaN"):
        check_weights(model)


def test_no_variable_changes_while_rows_are_looked_for() -> None:
    inputs = keras.Input((6, 3))
    model = keras.Model(inputs, L.Dense(1)(L.LSTM(4, dropout=0.3, recurrent_dropout=0.2)(ops.log(inputs))))
    before = [variable.numpy() for variable in model.variables]
    assert find_examples(model, read_signature(model)).problem is None
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.variables, strict=True))


def test_a_layer_that_needs_known_lengths_is_refused_with_the_way_out() -> None:
    inputs = keras.Input((None, None, 1))
    x = L.UpSampling2D(interpolation="bilinear")(L.Dropout(0.3)(L.Conv2D(3, 3, padding="same")(inputs)))
    model = keras.Model(inputs, x)
    with pytest.raises(UnsupportedModelError, match=r"UpSampling2D.*fix the lengths .*--input-shape"):
        enable_mc_dropout(model)
    (own,) = read_signature(model).inputs
    check_laws(enable_mc_dropout(model, input_specs=[InputSpec(name=own.name, shape=(6, 8, 1), dtype="")]))


def test_an_answer_near_zero_does_not_depend_on_other_rows() -> None:
    """The answer to the second row is 0.5 % of the others', so that its rounding is large beside it alone."""
    keras.utils.set_random_seed(3)
    stochastic = enable_mc_dropout(DEMANDING["root_of_one_less"]())
    (answers,) = stochastic.predict(stochastic.examples.rows(3)).values()
    assert abs(answers[1]).max() < 0.01 * abs(answers).max()
    check_laws(stochastic)
