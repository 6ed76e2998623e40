"""Data, folders and options that `thinned score` refuses before it loads a model: one line, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tests.service.cli.conftest import Run
from tests.service.cli.scoring.conftest import COLUMNS, Rows

Make = Callable[[Path, Rows], object]


def _text(name: str, text: str) -> Make:
    def make(folder: Path, rows: Rows) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


def _table(**changed: object) -> Make:
    def make(folder: Path, rows: Rows) -> Path:
        columns = {name: changed.get(name, rows.table[name]) for name in rows.table.column_names}
        parquet.write_table(pyarrow.table({n: c for n, c in columns.items() if c is not None}), folder / "t.parquet")
        return folder / "t.parquet"

    return make


def _arrays(**arrays: object) -> Make:
    def make(folder: Path, rows: Rows) -> Path:
        np.savez(folder / "t.npz", **arrays)  # type: ignore[arg-type]
        return folder / "t.npz"

    return make


def _two_kinds(folder: Path, rows: Rows) -> Path:
    (folder / "sub").mkdir()
    for name in ("a.csv", "b.npz"):
        (folder / "sub" / name).touch()
    return folder / "sub"


def _empty_table(folder: Path, rows: Rows) -> Path:
    parquet.write_table(rows.table.slice(0, 0), folder / "t.parquet")
    return folder / "t.parquet"


HEAD = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_text("t.csv", ""), "expected a first line that names the columns, received nothing"),
        (_text("t.csv", HEAD + "\n"), "expected at least one row, received none"),
        (_text("t.csv", HEAD.replace(",", ";") + "\n1;2;3;4;5;6\n"), "they are separated by ';'"),
        (_text("t.csv", "a,b\n1,2\n"), "say which of 'a', 'b' they are"),
        (_text("t.parquet", "PAR1"), "expected a Parquet file"),
        (_text("t.npz", "PK"), "expected numbers or text saved with numpy.savez"),
        (_text("t.xlsx", ""), "expected a file that ends in .parquet"),
        (_empty_table, "expected at least one row, received none"),
        (_table(x_2=["1"] * 40), "expected numbers in the column 'x_2', it holds string"),
        (_table(x_2=None), "say which of "),
        (_arrays(y=np.zeros(3)), "expected arrays named x"),
        (_arrays(x=np.zeros((4, 5, 3))), "expected shape (rows, 2, 3), received (4, 5, 3)"),
        (_arrays(x=np.array(["a"] * 4)), "expected numbers in the array x"),
        (_arrays(x=np.asfortranarray(np.zeros((4, 2, 3)))), "saved by columns"),
        (_arrays(x=np.zeros((0, 2, 3))), "expected at least one row, received none"),
        (_two_kinds, "expected files of one kind, received csv and npz"),
        (lambda folder, _: folder / "none", "no such file or folder"),
        (lambda folder, _: "-", "standard input cannot be read a second time"),
        (lambda folder, _: "nowhere://x/y.csv", "cannot be opened"),
    ],
)
def test_data_that_cannot_be_scored(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path, make: Make, said: str
) -> None:
    place = make(tmp_path, rows)
    status, _, err = thinned("score", rowwise, "--input", place, "--output", tmp_path / "out", "--n-samples", "8")
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--columns", "x_0,x_1"), "--columns expects 6 columns, or one of lists, for the input 'x', received 2"),
        (("--columns", "x_0,x_1,x_2,x_3,x_4,X_5"), "has no column 'X_5' (is 'x_5' meant?)"),
        (("--columns", "x_0,x_0,x_2,x_3,x_4,x_5"), "expects each column once"),
        (("--key", "ID"), "has no such column (is 'id' meant?)"),
        (("--coverage", "2"), "expected a number between 0 and 1"),
        (("--workers", "2"), "add --engine ray"),
    ],
)
def test_options_that_cannot_be(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    status, _, err = thinned("score", rowwise, "--input", rows.file, "--output", tmp_path / "out", *options)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


def test_a_folder_that_holds_something_else(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    asked = ("score", rowwise, "--input", rows.file, "--n-samples", "8", "--output")
    assert "is not empty (rows.parquet), and holds no run" in thinned(*asked, tmp_path)[2]
    assert f"--output {rows.file} is a file" in thinned(*asked, rows.file)[2]
    assert "nothing can be written there" in thinned(*asked, "/proc/none/out")[2]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "_run.json").write_text("[]")
    assert "_run.json is not one of thinned score" in thinned(*asked, tmp_path / "run")[2]
