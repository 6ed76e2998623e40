from __future__ import annotations

import math
import random
from typing import Any

import pytest

from thinned.loadtest.request_bodies import WrongAnswerError, check_predict, check_predict_mc, draw_inputs

CARD: dict[str, Any] = {
    "name": "small",
    "inputs": [{"name": "x", "shape": [2, 3], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [2], "dtype": "float32"}],
}
TWO: dict[str, Any] = {
    "name": "two",
    "inputs": [{"name": "x", "shape": [2], "dtype": "float32"}, {"name": "words", "shape": [None], "dtype": "int32"}],
    "outputs": [{"name": "y", "shape": [2], "dtype": "float32"}, {"name": "z", "shape": [None], "dtype": "float32"}],
}
MODEL = {"name": "small", "version": "v1"}
REQUEST = {"inputs": [[0.0, 1.0]], "n_samples": 10, "seed": 7}


def right() -> dict[str, Any]:
    spread = {"variance": [[0.1, 0.0]], "standard_error": [[0.01, 0.0]]}
    return {"mean": [[1.0, 2.0]], **spread, "n_samples": 10, "seed": 7, "model": MODEL}


def test_one_input_is_a_list_of_rows() -> None:
    inputs = draw_inputs(CARD, 4, random.Random(1))
    assert len(inputs) == 4
    assert all(len(row) == 2 and all(len(line) == 3 for line in row) for row in inputs)
    assert all(0 <= value < 1 for row in inputs for line in row for value in line)


def test_several_inputs_are_named_and_integers_fit_any_embedding() -> None:
    inputs = draw_inputs(TWO, 2, random.Random(1))
    assert set(inputs) == {"x", "words"}
    assert {type(value) for row in inputs["words"] for value in row} == {int}
    assert {value for row in inputs["words"] for value in row} <= {0, 1}


def test_right_answers_pass() -> None:
    check_predict(CARD, 1, {"outputs": [[1.0, 2.0]], "model": MODEL})
    check_predict_mc(CARD, REQUEST, 1, right())
    model = {"name": "two", "version": "v1"}
    check_predict(TWO, 1, {"outputs": {"y": [[1.0, 2.0]], "z": [[1.0, 2.0, 3.0]]}, "model": model})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 8}, "seed: expected 7, received 8"),
        ({"n_samples": 30}, "n_samples: expected 10"),
        ({"mean": [[1.0]]}, "mean: expected shape (1, 2), received (1, 1)"),
        ({"mean": [[1.0, 2.0], [1.0, 2.0]]}, "mean: expected shape"),
        ({"mean": [[1.0, math.nan]]}, "mean: expected finite"),
        ({"mean": [[1.0], [2.0, 3.0]]}, "mean: expected numbers"),
        ({"mean": "none"}, "mean: expected numbers"),
        ({"variance": [[-0.1, 0.0]]}, "variance: expected none below 0"),
        ({"variance": [[0.0, 0.0]]}, "variance: expected some above 0"),
        ({"standard_error": [[-0.1, 0.0]]}, "standard_error: expected none below 0"),
        ({"model": {"name": "other", "version": "v1"}}, "model: expected name 'small'"),
    ],
)
def test_a_wrong_answer_is_found(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongAnswerError) as error:
        check_predict_mc(CARD, REQUEST, 1, {**right(), **changed})
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("part", ["mean", "variance", "standard_error", "n_samples", "seed", "model"])
def test_a_missing_part_is_found(part: str) -> None:
    answer = right()
    del answer[part]
    with pytest.raises(WrongAnswerError, match=part):
        check_predict_mc(CARD, REQUEST, 1, answer)


def test_a_missing_output_is_found() -> None:
    with pytest.raises(WrongAnswerError, match="one entry for each output"):
        check_predict(TWO, 1, {"outputs": {"y": [[1.0, 2.0]]}, "model": MODEL})
