from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.service.cards import CODE, COLOUR, IMAGE, SCALAR, TOKENS, WORD
from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_arrays import MAX_PROBLEMS, check_inputs, describe

ROW = [[1, 2, 3], [4, 5, 6.5]]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)
NESTED_NUMBERS = st.lists(st.lists(st.lists(st.integers(0, 9) | st.floats(), max_size=4), max_size=3), max_size=3)


def problems(raw: object, *specs: InputSpec, max_rows: int | None = 4, max_length: int | None = 8) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        check_inputs(raw, specs or (IMAGE,), max_rows=max_rows, max_length=max_length)
    return list(caught.value.problems)


@given(arrays.arrays(np.float32, (3, 2, 3), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_what_json_carries_arrives_bit_for_bit(array: np.ndarray) -> None:
    received = check_inputs(json.loads(json.dumps(array.tolist())), [IMAGE], max_rows=None)["image"]
    assert received.dtype == np.float32
    assert received.tobytes() == array.tobytes()


def test_a_single_input_may_be_named_or_not() -> None:
    bare = check_inputs([ROW], [IMAGE], max_rows=1)
    named = check_inputs({"image": [ROW]}, [IMAGE], max_rows=1)
    assert list(bare) == list(named) == ["image"]
    assert np.array_equal(bare["image"], named["image"])


def test_arrays_may_stand_for_lists() -> None:
    array = np.arange(6, dtype=np.float64).reshape(1, 2, 3)
    assert check_inputs(array, [IMAGE], max_rows=None)["image"].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (True, "true"),
        (None, "null"),
        ("1.5", "the string '1.5'"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (1e39, "1e+39"),
        (10**400, "an integer of 1329 bits"),
        ([1], "a list of 1"),
        ({}, "an object"),
    ],
)
def test_what_is_no_finite_number_is_refused_where_it_stands(wrong: object, said: str) -> None:
    raw = [ROW, [[0, 0, 0], [0, wrong, 0]]]
    assert problems(raw) == [Problem(("inputs", 1, 1, 1), f"expected a finite float32 number, received {said}")]


@pytest.mark.parametrize(
    ("raw", "loc", "words"),
    [
        ([ROW, [[1, 2, 3], [4, 5]]], ("inputs", 1, 1), "expected a list of 3, received a list of 2"),
        ([ROW, 7], ("inputs", 1), "expected a list of 2, received 7"),
        ([[[1, 2], [3, 4]]], ("inputs",), "expected shape (rows, 2, 3), received (1, 2, 2)"),
        (ROW, ("inputs",), "received (2, 3); send a single row as a list of one row"),
        ([], ("inputs",), "at least one row"),
        (3, ("inputs",), "expected a list of rows, received 3"),
        (None, ("inputs",), "expected a list of rows, received null"),
        ([ROW] * 5, ("inputs",), "expected at most 4 rows, received 5"),
        ({"picture": [ROW]}, ("inputs", "picture"), "unknown input; expected 'image'"),
    ],
)
def test_a_wrong_shape_says_what_was_expected_and_received(raw: object, loc: tuple[object, ...], words: str) -> None:
    first = problems(raw)[0]
    assert first.loc == loc
    assert words in first.msg


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    array = check_inputs([[1, 2.0, -0.0, 2e3]], [TOKENS], max_rows=None)[TOKENS.name]
    assert array.dtype == np.int32
    assert array.tolist() == [[1, 2, 0, 2000]]


@pytest.mark.parametrize("wrong", [1.5, math.nan, math.inf, 1e300, True, 2**31, -(2**31) - 1, "1", None])
def test_integer_inputs_take_integers_in_range_only(wrong: object) -> None:
    [(loc, message)] = problems([[1, wrong]], TOKENS)
    assert loc == ("inputs", 0, 1)
    assert message.startswith("expected an integer from -2147483648 to 2147483647, received")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_every_integer_of_the_dtype_is_taken_and_none_beyond(dtype: str) -> None:
    spec = InputSpec(name="ids", shape=(), dtype=dtype)
    limits = np.iinfo(dtype)
    ends = [int(limits.min), int(limits.max)]
    assert check_inputs(ends, [spec], max_rows=None)["ids"].tolist() == ends
    assert problems([ends[0] - 1], spec)
    assert problems([ends[1] + 1], spec)


@pytest.mark.parametrize(("dtype", "beyond"), [("float16", 65520), ("bfloat16", 3.4e38), ("float64", 10**309)])
def test_overflow_is_judged_in_the_dtype_of_the_input(dtype: str, beyond: float) -> None:
    spec = InputSpec(name="x", shape=(), dtype=dtype)
    assert check_inputs([1.5], [spec], max_rows=None)["x"].dtype.name == dtype
    assert problems([beyond], spec)


def test_variable_lengths_agree_within_a_request_and_have_limits() -> None:
    assert check_inputs([[1, 2], [3, 4]], [TOKENS], max_rows=4)["tokens"].shape == (2, 2)
    assert problems([[1, 2], [3]], TOKENS)[0].loc == ("inputs", 1)
    assert "n from 1 to 8, received (1, 9)" in problems([[1] * 9], TOKENS)[0].msg
    assert "received (1, 0)" in problems([[]], TOKENS)[0].msg


def test_several_inputs_are_named_and_have_equal_rows() -> None:
    specs = (TOKENS, SCALAR)
    received = check_inputs({"scalar": [0.5, 1], "tokens": [[1], [2]]}, specs, max_rows=4)
    assert {name: array.shape for name, array in received.items()} == {"tokens": (2, 1), "scalar": (2,)}
    assert "expected an object with 'tokens', 'scalar'" in problems([[1]], *specs)[0].msg
    assert problems({"tokens": [[1]]}, *specs) == [Problem(("inputs", "scalar"), "this input is missing")]
    assert problems({"tokens": [[1]], "scalar": [1, 2]}, *specs)[0].loc == ("inputs", "scalar")
    both = problems({"tokens": [["a"]], "scalar": [None]}, *specs)
    assert [problem.loc for problem in both] == [("inputs", "tokens", 0, 0), ("inputs", "scalar", 0)]


def test_a_million_problems_are_told_as_ten() -> None:
    assert len(problems([[[None] * 3] * 2] * 1000, max_rows=None)) == MAX_PROBLEMS


@given(st.lists(st.text(), min_size=1))
def test_text_arrives_as_it_was_sent(words: list[str]) -> None:
    received = check_inputs(json.loads(json.dumps(words)), [WORD], max_rows=None)["word"]
    assert received.dtype == object
    assert received.tolist() == words


@given(st.lists(st.none() | st.text(max_size=3), min_size=1))
def test_null_becomes_what_the_model_takes_for_a_missing_text(words: list[str | None]) -> None:
    received = check_inputs([[word] for word in words], [COLOUR], max_rows=None)["colour"]
    assert received[:, 0].tolist() == ["[MASK]" if word is None else word for word in words]


def test_null_becomes_what_the_model_takes_for_a_missing_integer() -> None:
    received = check_inputs([7, None], [CODE], max_rows=None)["code"]
    assert received.dtype == np.int64
    assert received.tolist() == [7, -1]


@pytest.mark.parametrize(
    ("raw", "spec", "loc", "said"),
    [
        (["a", 1], WORD, (1,), "expected a string, received 1"),
        (["a", True], WORD, (1,), "expected a string, received true"),
        (["a", ["b"]], WORD, (1,), "expected a string, received a list of 1"),
        (["a", None], WORD, (1,), "received null; the model has no token for a missing value"),
        ([["a"], [1]], COLOUR, (1, 0), "expected a string or null, received 1"),
        ([[None], ["\ud800"]], COLOUR, (1, 0), "expected text in Unicode, received the string '\\ud800' with half of"),
        ([1, "a"], CODE, (1,), "or null, received the string 'a'"),
        (["a"], COLOUR, (), "expected shape (rows, 1), received (1,)"),
        (["red", 7, None], WORD, (1,), "expected a string, received 7"),
    ],
)
def test_what_is_no_text_is_refused_where_it_stands(
    raw: object, spec: InputSpec, loc: tuple[int, ...], said: str
) -> None:
    first = problems(raw, spec)[0]
    assert first.loc == ("inputs", *loc)
    assert said in first.msg


def obviously_fits(raw: Any) -> bool:
    """The rule written plainly, to hold the fast one against."""

    def number(value: Any) -> bool:
        # A little beyond the largest number is still rounded to it.
        with np.errstate(over="ignore"):
            return type(value) in (int, float) and abs(value) < 3.5e38 and bool(np.isfinite(np.float32(value)))

    return (
        isinstance(raw, list)
        and 1 <= len(raw) <= 4
        and all(isinstance(row, list) and len(row) == 2 for row in raw)
        and all(isinstance(line, list) and len(line) == 3 and all(map(number, line)) for row in raw for line in row)
    )


@given(ANY_JSON | NESTED_NUMBERS)
def test_anything_is_taken_or_refused_as_the_plain_rule_says(raw: object) -> None:
    if obviously_fits(raw):
        assert check_inputs(raw, [IMAGE], max_rows=4)["image"].tolist() == np.float32(raw).tolist()
    else:
        found = problems(raw)
        assert 1 <= len(found) <= MAX_PROBLEMS
        assert all(problem.loc[0] == "inputs" and problem.msg for problem in found)


@given(ANY_JSON)
def test_every_value_can_be_described_briefly(value: object) -> None:
    assert 1 <= len(describe(value)) <= 120
