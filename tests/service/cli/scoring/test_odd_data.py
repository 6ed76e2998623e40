"""Data as they are found: what was once scored wrongly, lost, or ended a run that could have gone on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tests.service.cli.conftest import Run
from tests.service.cli.scoring.conftest import COLUMNS, Rows
from tests.service.cli.scoring.test_score import ASKED, answers, rejects
from thinned.models.errors import AnswerNotFiniteError
from thinned.service.cli.scoring import data_set
from thinned.service.cli.scoring.sifting import sift

HEAD = ",".join(COLUMNS)
ROW = "1,2,3,4,5,6"


def scored(thinned: Run, model: str, data: Path, folder: Path, *asked: object) -> tuple[Any, Any]:
    status, _, err = thinned("score", model, "--input", data, "--output", folder, *ASKED, *asked)
    assert err == ""
    return status, answers(folder)


@pytest.mark.parametrize("closed", [True, False])
def test_the_lines_of_a_long_quote_are_no_rows(thinned: Run, rowwise: str, tmp_path: Path, closed: bool) -> None:
    """Of more characters than a value may have: its lines look like rows."""
    quote = '1,2,3,4,5,"' + f"6\n{ROW}\n" * 12_000
    end = f'"\n{ROW}\n' if closed else ""
    (tmp_path / "rows.csv").write_text(f"{HEAD}\n{ROW}\n{quote}{end}")
    status, found = scored(thinned, rowwise, tmp_path / "rows.csv", tmp_path / "out")
    assert status == 3
    assert found["row"].to_pylist() == ([0, 2] if closed else [0])
    (reject,) = rejects(tmp_path / "out")
    assert "expected values of at most 131,072 characters; is a quote not closed?" in reject["reason"]


def test_a_line_of_commas_is_a_row_without_values(thinned: Run, rowwise: str, tmp_path: Path) -> None:
    """Behind it the numbers of rows would be those of other rows, were it passed over."""
    (tmp_path / "rows.csv").write_text(f",,,,,\n\n{HEAD}\n{ROW}\n,,,,,\n\n \n{ROW}\n")
    status, found = scored(thinned, rowwise, tmp_path / "rows.csv", tmp_path / "out")
    assert (status, found["row"].to_pylist()) == (3, [0, 2])
    assert [(reject["row"], reject["place"][-6:]) for reject in rejects(tmp_path / "out")] == [("1", "line 5")]


def test_columns_that_arrow_cannot_pick_rows_of_are_kept(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path
) -> None:
    text = pyarrow.array(["ä"] * 40, pyarrow.string_view())
    table = rows.table.append_column("text", text).append_column(
        "nested", pyarrow.array([{"a": ["b"]}] * 40, pyarrow.struct({"a": pyarrow.list_(pyarrow.string_view())}))
    )
    table = table.append_column("bytes", pyarrow.array([b"\xff"] * 40, pyarrow.binary_view()))
    parquet.write_table(table, tmp_path / "rows.parquet")
    status, found = scored(thinned, rowwise, tmp_path / "rows.parquet", tmp_path / "out")
    assert status == 0
    assert found.select(["text", "nested", "bytes"]).to_pylist()[39] == {
        "text": "ä",
        "nested": {"a": ["b"]},
        "bytes": b"\xff",
    }


def test_arrays_of_other_machines_and_dates_are_kept(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    beside = {
        "big": np.arange(40, dtype=">i4"),
        "long": np.arange(40, dtype=np.longdouble),
        "day": np.array(["2020-02-29"] * 40, "M8[D]"),
        "name": np.array([b"a"] * 40),
    }
    np.savez(tmp_path / "rows.npz", x=rows.x.astype(">f8"), **beside)  # type: ignore[arg-type]
    status, found = scored(thinned, rowwise, tmp_path / "rows.npz", tmp_path / "out")
    assert status == 0
    last = found.select(list(beside)).to_pylist()[39]
    assert (last["big"], last["long"], last["day"].isoformat(), last["name"]) == (39, 39, "2020-02-29T00:00:00", b"a")


def test_a_file_whose_name_is_no_text(thinned: Run, rowwise: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in (b"gr\xf6n.png", b"small.png"):
        pixels = np.zeros((2, 3) if name[:1] == b"g" else (1, 3), np.uint8)
        with (tmp_path / "images" / os.fsdecode(name)).open("wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
    status, found = scored(thinned, rowwise, tmp_path / "images", tmp_path / "out")
    assert (status, found["file"].to_pylist()) == (3, ["gr\\xf6n.png"])


def test_a_part_that_was_removed_or_changed(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    asked = ("score", rowwise, "--input", rows.file, "--output", tmp_path / "out", *ASKED, "--part-rows", 10)
    assert thinned(*asked)[0] == 0
    part = tmp_path / "out" / "part-000002.parquet"
    whole = part.read_bytes()
    part.unlink()
    status, out, _ = thinned(*asked)
    assert (status, part.read_bytes()) == (0, whole)
    assert "Going on behind 30 of 40 rows" in out
    (tmp_path / "out" / "_done.json").unlink()
    part.write_bytes(whole[:100])
    status, _, err = thinned(*asked)
    assert status == 2
    assert "part-000002.parquet was changed since it was written" in err
    assert err.count("\n") == 1


def test_other_data_are_told_in_words(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    asked = ("score", rowwise, "--input", rows.file, "--output", tmp_path / "out", *ASKED)
    assert thinned(*asked)[0] == 0
    parquet.write_table(rows.table.slice(1), rows.file)
    status, _, err = thinned(*asked)
    assert status == 2
    assert "other data (names, lengths or times of change of the files of --input)" in err


def test_answers_within_the_data_are_refused(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    """Begun again, the run would read its own parts as data."""
    for folder in (tmp_path / "out", tmp_path):
        status, _, err = thinned("score", rowwise, "--input", f"file://{tmp_path}", "--output", folder, *ASKED)
        assert status == 2
        assert "lies in --input" in err
    assert not (tmp_path / "out").exists()


def test_wide_columns_that_are_kept_make_parts_shorter(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory would else grow with whatever stands beside the inputs."""
    from thinned.service.cli.scoring import csv_source

    monkeypatch.setattr(data_set, "PART_BYTES", 10_000)
    monkeypatch.setattr(csv_source, "PART_BYTES", 10_000)
    wide = [f"{i:01000}" for i in range(40)]
    table = rows.table.select(COLUMNS).append_column("wide", pyarrow.array(wide))
    parquet.write_table(table, tmp_path / "wide.parquet", use_dictionary=False, compression="zstd")
    np.savez(tmp_path / "wide.npz", x=rows.x, wide=np.array(wide))
    lines = [",".join([*COLUMNS, "wide"]), *(f"{ROW},{text}" for text in wide)]
    (tmp_path / "wide.csv").write_text("\n".join(lines))
    for kind, least in (("parquet", 4), ("npz", 10), ("csv", 4)):
        folder = tmp_path / kind
        status, found = scored(thinned, rowwise, tmp_path / f"wide.{kind}", folder)
        assert (status, found["wide"].to_pylist()) == (0, wide)
        assert least <= len(list(folder.glob("part-*.parquet"))) <= 40


def test_rows_that_are_known_to_be_wrong_are_left_out_at_once() -> None:
    tried = []

    def attempt(rows: Sequence[int]) -> list[int]:
        tried.append(len(rows))
        if wrong := [place for place, row in enumerate(rows) if row % 2]:
            raise AnswerNotFiniteError("not finite", wrong)
        return list(rows)

    found, refused = sift(range(10, 1010), attempt)
    assert [row for _, answered in found for row in answered] == list(range(10, 1010, 2))
    assert sorted(refused) == list(range(11, 1010, 2))
    assert tried == [1000, 500]


def test_what_the_names_of_folders_tell_is_kept(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    for place in ("year=2020/größe=a%2Fb", "year=__HIVE_DEFAULT_PARTITION__/größe=c"):
        (tmp_path / "data" / place).mkdir(parents=True)
        parquet.write_table(rows.table.select(COLUMNS).slice(38), tmp_path / "data" / place / "part.parquet")
    status, found = scored(thinned, rowwise, tmp_path / "data", tmp_path / "out")
    assert status == 0
    assert found["year"].to_pylist() == ["2020", "2020", None, None]
    assert found["größe"].to_pylist() == ["a/b", "a/b", "c", "c"]
    (tmp_path / "data" / "day=1").mkdir()
    parquet.write_table(rows.table.select(COLUMNS), tmp_path / "data" / "day=1" / "part.parquet")
    status, _, err = thinned(
        "score", rowwise, "--input", tmp_path / "data", "--output", tmp_path / "b", *ASKED, "--part-rows", 2
    )
    assert (status, "expected folders of the same names (NAME=VALUE)" in err) == (2, True)
