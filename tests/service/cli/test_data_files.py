"""A file of rows is read into what a request would hold, whatever its format; a wrong one is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from thinned.models.card import InputSpec
from thinned.models.errors import InputError
from thinned.service.cli.data_files import read_rows

IMAGE = (InputSpec(name="image", shape=(2, 3, 1), dtype="float32"),)
ROW = (InputSpec(name="x", shape=(3,), dtype="float32"),)
NUMBER = (InputSpec(name="x", shape=(), dtype="float32"),)
TOKENS = (InputSpec(name="tokens", shape=(None,), dtype="int32"),)
TWO = (*ROW, InputSpec(name="tokens", shape=(2,), dtype="int32"))

ARRAY = np.arange(12, dtype="float32").reshape(2, 2, 3, 1) / 4


def written(folder: Path, name: str) -> Path:
    path = folder / name
    flat = ARRAY.reshape(2, -1)
    match name:
        case "x.npy":
            np.save(path, ARRAY)
        case "f64.NPY":
            np.save(folder / "f64.npy", ARRAY.astype("float64"))
            (folder / "f64.npy").rename(path)
        case "x.npz":
            np.savez(path, image=ARRAY)
        case "x.json":
            path.write_text(json.dumps(ARRAY.tolist()))
        case "request.json":
            path.write_text(json.dumps({"inputs": ARRAY.tolist()}))
        case "named.json":
            path.write_text(json.dumps({"image": ARRAY.tolist()}))
        case "x.csv":
            np.savetxt(path, flat, delimiter=",")
        case "header.csv":
            np.savetxt(path, flat, delimiter=",", header="a,b,c,d,e,f", comments="", newline="\r\n")
        case "bom.csv":
            path.write_bytes(b"\xef\xbb\xbf" + "\n".join(", ".join(map(str, row)) for row in flat).encode() + b"\n\n")
    return path


FORMATS = ["x.npy", "f64.NPY", "x.npz", "x.json", "request.json", "named.json", "x.csv", "header.csv", "bom.csv"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    checked = read_rows(written(tmp_path, name), IMAGE)["image"]
    np.testing.assert_array_equal(checked, ARRAY)
    assert checked.dtype == np.float32


def test_integers_of_a_csv_are_integers(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1,2,3\n 4,+5,-6\n")
    assert read_rows(path, TOKENS)["tokens"].tolist() == [[1, 2, 3], [4, 5, -6]]


def test_a_number_a_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1\n2.5\n")
    assert read_rows(path, NUMBER)["x"].tolist() == [1.0, 2.5]


def test_several_inputs_come_by_name(tmp_path: Path) -> None:
    rows = {"x": np.ones((2, 3)), "tokens": np.zeros((2, 2), "int64")}
    np.savez(tmp_path / "x.npz", **rows)
    (tmp_path / "x.json").write_text(json.dumps({"inputs": {name: array.tolist() for name, array in rows.items()}}))
    for name in ("x.npz", "x.json"):
        checked = read_rows(tmp_path / name, TWO)
        assert {name: array.shape for name, array in checked.items()} == {"x": (2, 3), "tokens": (2, 2)}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"1,2,3", "ends in .npy, .npz, .csv, .parquet, .json, .jsonl, received 'x.txt'"),
        ("x", b"", "ends in .npy"),
        ("x.csv", b"1,2,3\n4,y,6\n", "line 2, column 2: expected a finite float32 number, received the string 'y'"),
        ("x.csv", b"1,2,3\n4,,6\n", "line 2, column 2: expected a finite float32 number, received nothing"),
        ("x.csv", b"a,b,c\n1,2\n", "line 2: expected 3 values, received 2"),
        ("x.csv", b"1,b,3\n1,2,3\n", "line 1, column 2: expected a finite float32 number, received the string 'b'"),
        ("x.csv", b"\xff\xfe1", "UTF-8"),
        ("x.csv", b'"' + b"1" * 200_000, "separated by commas"),
        ("x.json", b"[[1, 2,", "expected JSON"),
        ("x.json", b"[" * 100_000, "expected JSON"),
        ("x.json", b"\xff", "expected JSON"),
        ("x.npy", b"not numpy", "numpy.save"),
        ("x.npy", b"", "numpy.save"),
        ("x.npz", b"PK\x03\x04nothing", "numpy.save"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_rows(tmp_path / name, ROW)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; pass one with --input or --data"):
        read_rows(tmp_path / "x.npy", ROW)
    (tmp_path / "y.npy").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "y.npy", ROW)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="allow_pickle=False"):
        read_rows(tmp_path / "x.npy", ROW)


def test_several_inputs_need_a_header(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2,3\n")
    with pytest.raises(InputError, match=r"expected 5 columns, received 3; missing: 'x_0', 'x_1', 'x_2', 'tokens_0'"):
        read_rows(tmp_path / "x.csv", TWO)


def test_an_image_row_of_another_length_is_told_its_shape(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2,3\n")
    with pytest.raises(InputError, match="line 1: expected 6 numbers, a row of shape 2×3×1, received 3"):
        read_rows(tmp_path / "x.csv", IMAGE)


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b,c\n")
    with pytest.raises(InputError, match="at least one row"):
        read_rows(tmp_path / "x.csv", ROW)
