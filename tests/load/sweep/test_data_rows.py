from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinned.loadtest.request_bodies import InputRows
from thinned.loadtest.sweep.data_rows import RowsError, load_rows

CARD: dict[str, Any] = {
    "name": "small",
    "inputs": [{"name": "x", "shape": [3], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1], "dtype": "float32"}],
}


def test_rows_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(12.0).reshape(4, 3))
    rows = load_rows(CARD, path, seed=1)
    assert rows.by_input == {"x": np.arange(12.0).reshape(4, 3).tolist()}
    assert rows.origin == "rows of rows.npy"


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("1,2\n")
    with pytest.raises(RowsError, match="expected 3 numbers"):
        load_rows(CARD, path, seed=1)


def test_without_a_file_rows_are_random_and_say_so() -> None:
    rows = load_rows(CARD, None, seed=1)
    assert len(rows) == 64
    assert "random" in rows.origin
    assert rows == load_rows(CARD, None, seed=1)


def test_several_inputs_stay_side_by_side() -> None:
    rows = InputRows({"a": [[0], [1], [2]], "b": [["x"], ["y"], ["z"]]}, "made up")
    assert rows.pick([2, 0]) == {"a": [[2], [0]], "b": [["z"], ["x"]]}
    drawn = rows.draw(5, random.Random(1))
    assert all("xyz"[a[0]] == b[0] for a, b in zip(drawn["a"], drawn["b"], strict=True))
