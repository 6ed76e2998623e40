"""Inputs of text: which words and which missing value a model knows, and that passes of text are those of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo import build
from tests.zoo.text import MISSING, RGB, Unseen, padded_to_the_longest
from thinned.models.card import InputSpec
from thinned.models.dropout import BatchItem, check_laws, check_untouched, enable_mc_dropout
from thinned.models.dropout.keras_draws import find_gaps
from thinned.models.dropout.partition.signature import read_signature
from thinned.models.errors import InputError, UnsupportedModelError

L = keras.layers


@pytest.mark.parametrize("kind", MISSING)
def test_the_missing_value_is_found_and_the_model_serves(kind: str) -> None:
    make, missing = MISSING[kind]
    model = make()
    stochastic = enable_mc_dropout(model)
    assert stochastic.inputs[0].missing == missing
    assert type(stochastic.inputs[0].missing) is type(missing)
    if stochastic.inputs[0].dtype == "string":
        check_untouched(stochastic, model)
        assert check_laws(stochastic) == ()


def test_an_input_of_text_and_numbers_keeps_the_missing_value_of_its_own() -> None:
    specs = enable_mc_dropout(build("categories")).inputs
    assert specs == (
        InputSpec(name="colour", shape=(1,), dtype="string", missing="[MASK]"),
        InputSpec(name="age", shape=(1,), dtype="float32"),
    )


@pytest.mark.parametrize("dtype", [object, "<U5", "S5"])
def test_text_may_come_in_any_array_of_strings(dtype: Any) -> None:
    stochastic = enable_mc_dropout(build("categories"))
    age = np.ones((2, 1), "float32")
    expected = stochastic.reference({"colour": np.array([["red"], ["blue"]], object), "age": age})
    found = stochastic.predict({"colour": np.array([["red"], ["blue"]], dtype), "age": age})
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
        assert not np.array_equal(found[name][0], found[name][1])


def test_the_text_runs_once() -> None:
    split = enable_mc_dropout(build("categories")).split
    assert "string_lookup" in split.prefix_layers[0]
    assert [name.partition("_")[0] for name in split.frontier] == ["dense"]
    assert 0 < (split.prefix_share or 0) < 1
    assert enable_mc_dropout(build("text")).split.prefix_share is None  # the profiler cannot tell


def test_a_subclassed_model_takes_text() -> None:
    model = Unseen()
    model(keras.ops.convert_to_tensor([["red"]], dtype="string"))
    stochastic = enable_mc_dropout(model, input_specs=[InputSpec(name="word", shape=(1,), dtype="string")])
    check_untouched(stochastic, model)
    assert check_laws(stochastic) == ()
    x = {"word": np.array([["red"], ["blue"]], object)}
    assert find_gaps(stochastic, x) == []
    first, again = (stochastic.sample(x, n_samples=40, seed=3)["output"] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_subclassed_model_is_asked_which_input_is_text() -> None:
    model = Unseen()
    model(keras.ops.convert_to_tensor([["red"]], dtype="string"))
    with pytest.raises(UnsupportedModelError, match=r"\(Unseen\) looks up text.*--input-dtype string"):
        enable_mc_dropout(model)


def test_requests_of_text_share_a_call() -> None:
    model = build("categories")
    stochastic = enable_mc_dropout(model)
    rows = [stochastic.examples.rows(size, seed=size) for size in (1, 3)]
    items = [BatchItem(len(x["age"]), 5 + i, 0, 32, inputs=x) for i, x in enumerate(rows)]
    alone = [stochastic.draw([item])[0] for item in items]
    for one, joined in zip(alone, stochastic.draw(items), strict=True):
        for name in one:
            np.testing.assert_allclose(joined[name].mean, one[name].mean, atol=1e-5)


def test_frontiers_of_sentences_of_different_lengths_share_a_call() -> None:
    stochastic = enable_mc_dropout(padded_to_the_longest(L.SpatialDropout1D(0.4), L.GlobalAveragePooling1D()))
    assert check_laws(stochastic) == ()
    rows = [{"word": np.array([[text]], object)} for text in ("red", "blue green red")]
    items = [BatchItem(1, 5 + i, 0, 32, frontier=stochastic.prefix(x)) for i, x in enumerate(rows)]
    for item, joined in zip(items, stochastic.draw(items), strict=True):
        np.testing.assert_array_equal(joined["y"].mean, stochastic.draw([item])[0]["y"].mean)


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (lambda: padded_to_the_longest(L.GlobalAveragePooling1D(), L.Dropout(0.4), mask=False), "the answer to a row"),
        (lambda: padded_to_the_longest(L.Dropout(0.4), L.GlobalAveragePooling1D()), "the passes of a row"),
    ],
)
def test_padding_that_rows_see_of_each_other_is_refused_with_its_name(model: Callable[[], Any], law: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{law} .*an output_sequence_length"):
        check_laws(enable_mc_dropout(model()))


def test_made_up_text_holds_words_that_the_model_knows() -> None:
    model = build("categories")
    made = enable_mc_dropout(model).examples
    colours = made.rows(20)["colour"]
    assert colours.shape == (20, 1)
    assert colours.dtype == object
    assert set(colours.ravel()) == set(RGB)
    assert "single words of" in made.describe()
    assert np.array_equal(colours, enable_mc_dropout(model).examples.rows(20)["colour"])
    (sentences,) = enable_mc_dropout(build("text")).examples.rows(20).values()
    words = " ".join(sentences.ravel()).split()
    assert len(words) == 16 // 4 * (3 + 2 + 6 + 4) + (3 + 2 + 6 + 4)
    assert set(words) == {"good", "bad", "film"}


def test_a_word_that_the_model_refuses_is_the_callers_mistake() -> None:
    stochastic = enable_mc_dropout(MISSING["several hot"][0]())
    with pytest.raises(InputError, match=r"inputs\.0\.1: 'pink' is not in the model's vocabulary"):
        stochastic.predict({"word": np.array([["red", "pink", "blue"]], object)})


def test_an_output_of_text_is_refused_with_the_way_out() -> None:
    inputs = keras.Input((4,))
    chances = L.Dense(3, "softmax")(L.Dropout(0.5)(inputs))
    word = L.StringLookup(vocabulary=RGB, invert=True, name="colour")(keras.ops.argmax(chances, -1))
    with pytest.raises(UnsupportedModelError, match=r"Output 'colour' gives text.*StringLookup\(invert.*--labels"):
        enable_mc_dropout(keras.Model(inputs, [chances, word]))


def test_dtypes_that_are_neither_numbers_nor_text_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="only floating-point numbers, integers"):
        read_signature(build("subclassed"), [InputSpec(name="x", shape=(5,), dtype="complex64")])


def test_a_card_from_before_text_loads() -> None:
    spec = InputSpec.model_validate_json('{"name": "x", "shape": [4], "dtype": "float32"}')
    assert spec == InputSpec(name="x", shape=(4,), dtype="float32", missing=None)
    for missing in ("7", 7, None):
        held = InputSpec(name="x", shape=(), dtype="string", missing=missing)
        assert InputSpec.model_validate_json(held.model_dump_json()).missing == missing
