from __future__ import annotations

import json
import math
import time
from datetime import date
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


DTYPES = ("bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64")
ANY_ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(dtype, st.sampled_from([(3,), (2, 1), (1, 2), (2, 2), (0, 2), (1, 2, 3), ()]))
)


@given(array=ANY_ARRAYS, dtype=st.sampled_from([*DTYPES, "bfloat16"]), shape=st.sampled_from([(), (1,), (2,), (None,)]))
@pytest.mark.parametrize("table_size", [None, 3])
def test_an_array_is_taken_or_refused_as_its_list(
    array: np.ndarray, dtype: str, shape: tuple[int | None, ...], table_size: int | None
) -> None:
    spec = InputSpec(name="x", shape=shape, dtype=dtype, table_size=None if dtype == "bool" else table_size)

    def outcome(raw: object) -> object:
        try:
            found = check_inputs(raw, [spec], max_rows=2, max_length=2)["x"]
        except InputError as error:
            return [problem.loc for problem in error.problems]
        return found.dtype, found.shape, found.tobytes()

    assert outcome(array) == outcome(array.tolist())


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


@pytest.mark.parametrize("wrong", [1.5, 1e300, math.nan, math.inf, True, 2**31, -(2**31) - 1, "1", None])
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
        (["a", 1], COLOUR, (1,), "expected a string or null, received 1"),
        ([["a", "b"]], COLOUR, (), "expected shape (rows, 1), received (1, 2)"),
        ([["a"], "b"], COLOUR, (1,), "expected a list of 1, received the string 'b'"),
        (["red", 7, None], WORD, (1,), "expected a string, received 7"),
    ],
)
def test_what_is_no_text_is_refused_where_it_stands(
    raw: object, spec: InputSpec, loc: tuple[int, ...], said: str
) -> None:
    first = problems(raw, spec)[0]
    assert first.loc == ("inputs", *loc)
    assert said in first.msg


def test_one_value_a_row_may_be_a_list_of_one_or_not() -> None:
    assert check_inputs(["a", None], [COLOUR], max_rows=None)["colour"].tolist() == [["a"], ["[MASK]"]]
    assert check_inputs(np.array(["a", "b"]), [COLOUR], max_rows=None)["colour"].shape == (2, 1)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    received = check_inputs([[1.0, 2], [-3.0, 4.0]], [TOKENS], max_rows=None)["tokens"]
    assert (received.dtype, received.tolist()) == (np.int32, [[1, 2], [-3, 4]])


def test_dates_are_refused_by_name() -> None:
    whole = InputSpec(name="when", shape=(), dtype="int64")
    assert "received dates or times (datetime64[ns])" in problems(np.array(["2024-05-01"], "M8[ns]"), whole)[0].msg
    assert "received the date 2024-05-01; send a date as" in problems([date(2024, 5, 1)], whole)[0].msg
    assert "received the string '2024-05-01'; send a date as" in problems(["2024-05-01"], whole)[0].msg


# Tables


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("beyond", [20, 99, -1])
def test_what_lies_beyond_a_table_is_named_with_its_place(dtype: str, beyond: int) -> None:
    spec = InputSpec(name="tokens", shape=(None,), dtype=dtype, table_size=20)
    assert check_inputs([[0, 19]], [spec], max_rows=None)["tokens"].tolist() == [[0, 19]]
    found = problems([[0, 1], [2, beyond]], spec)
    assert found == [
        Problem(
            ("inputs", 1, 1),
            f"expected an integer from 0 to 19 (the model looks it up in a table of 20), received {beyond}",
        )
    ]


# Rows of different length


PADDED = InputSpec(name="tokens", shape=(None,), dtype="int32", table_size=20, padding=0)
STEPS = InputSpec(name="steps", shape=(None, 2), dtype="float32", padding=-1.0)


def test_rows_are_filled_up_where_the_card_says_with_what() -> None:
    received = check_inputs([[1, 2, 3], [4], [5, 6]], [PADDED], max_rows=None)["tokens"]
    assert received.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    received = check_inputs([[[1, 2]], [[3, 4], [5, 6]]], [STEPS], max_rows=None)["steps"]
    assert received.tolist() == [[[1, 2], [-1, -1]], [[3, 4], [5, 6]]]


@pytest.mark.parametrize(
    ("raw", "spec", "loc", "said"),
    [
        ([], PADDED, (), "expected at least one row, received an empty list"),
        ([[1], []], PADDED, (1,), "expected a list of at least one, received a list of 0"),
        ([[1], 2], PADDED, (1,), "expected a list of at least one, received 2"),
        ([[1], [2, 30]], PADDED, (1, 1), "from 0 to 19"),
        ([[1], [2, [3]]], PADDED, (1, 1), "received a list of 1"),
        ([[1], [1] * 9], PADDED, (1,), "expected a list of at most 8, received a list of 9"),
        ([[[1, 2]], [[3, 4], [5]]], STEPS, (1, 1), "expected a list of 2, received a list of 1"),
        ([[[1, 2]], [[3, None], [5, 6]]], STEPS, (1, 0, 1), "received null"),
        ([[1, 2], [3]], TOKENS, (1,), "rows of one request have one length: fill them up"),
    ],
)
def test_what_cannot_be_filled_up_is_named(raw: object, spec: InputSpec, loc: tuple[int, ...], said: str) -> None:
    first = problems(raw, spec)[0]
    assert first.loc == ("inputs", *loc)
    assert said in first.msg


def test_a_request_is_not_filled_up_to_many_times_what_it_sent() -> None:
    raw = [[1] * 9000, *([[1]] * 999)]
    found = problems(raw, PADDED, max_rows=1000, max_length=9000)
    assert found == [
        Problem(
            ("inputs",),
            "rows of 1 to 9000 would be filled up to 9000000 numbers; send rows of like length together",
        )
    ]
    assert check_inputs(raw, [PADDED], max_rows=None)["tokens"].shape == (1000, 9000)


# Records

PERSON = (
    InputSpec(name="profile", shape=(2,), dtype="float32", columns=("age", "height")),
    COLOUR,
    PADDED,
)


def test_records_name_columns_or_inputs_in_any_order() -> None:
    records = [
        {"colour": "red", "tokens": [1, 2], "height": 1.8, "age": 41},
        {"age": 3, "height": 1, "tokens": [3], "colour": None},
    ]
    received = check_inputs(records, PERSON, max_rows=2)
    assert received["profile"].tolist() == np.float32([[41, 1.8], [3, 1]]).tolist()
    assert received["colour"].tolist() == [["red"], ["[MASK]"]]
    assert received["tokens"].tolist() == [[1, 2], [3, 0]]


RIGHT = {"age": 41, "height": 1.8, "colour": "red", "tokens": [1]}


@pytest.mark.parametrize(
    ("raw", "loc", "said"),
    [
        ([{}], (0,), "expected 4 columns, received 0; missing: 'age', 'height', 'colour', 'tokens'"),
        ([{**RIGHT, "Age ": 1}], (0,), "received 5; unknown: 'Age '"),
        ([{"color": "red", **{k: v for k, v in RIGHT.items() if k != "colour"}}], (0,), "(is 'colour' meant?)"),
        ([RIGHT, {**RIGHT, "size": 1}], (1, "size"), "unknown column"),
        ([RIGHT, {k: v for k, v in RIGHT.items() if k != "age"}], (1, "age"), "missing"),
        ([RIGHT, 7], (1,), "expected an object as in the first row, received 7"),
        ([RIGHT, {**RIGHT, "age": "old"}], (1, "age"), "expected a finite float32 number, received the string 'old'"),
        ([RIGHT, {**RIGHT, "age": None}], (1, "age"), "received null"),
        ([RIGHT, {**RIGHT, "age": [1]}], (1, "age"), "received a list of 1"),
        ([RIGHT, {**RIGHT, "tokens": [1, 20]}], (1, "tokens", 1), "from 0 to 19"),
        ([RIGHT, {**RIGHT, "colour": 3}], (1, "colour"), "expected a string or null, received 3"),
        ([RIGHT] * 5, (), "expected at most 4 rows, received 5"),
    ],
)
def test_what_is_wrong_with_records_is_named_by_row_and_column(raw: Any, loc: tuple[Any, ...], said: str) -> None:
    first = problems(raw, *PERSON)[0]
    assert first.loc == ("inputs", *loc)
    assert said in first.msg


def test_records_of_a_million_wrong_names_take_no_time() -> None:
    raw = [{f"{i:064}": 0 for i in range(100_000)}] * 3
    wide = InputSpec(name="x", shape=(2000,), dtype="float32", columns=tuple(f"{i:063}a" for i in range(2000)))
    began = time.process_time()
    assert len(problems(raw, wide)[0].msg) < 2500
    assert time.process_time() - began < 1


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
