"""Text in files: a column of one input, a column for each of several, empty cells, targets beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinned.models.card import InputSpec
from thinned.models.errors import InputError
from thinned.service.cli.data_files import read_labelled, read_rows

TEXT = (InputSpec(name="review", shape=(1,), dtype="string", missing=""),)
WORDS = (InputSpec(name="words", shape=(2,), dtype="string"),)
TABLE = (
    InputSpec(name="colour", shape=(1,), dtype="string", missing="[MASK]"),
    InputSpec(name="age", shape=(), dtype="float32"),
    InputSpec(name="code", shape=(1,), dtype="int64", missing=-1),
)


def write(folder: Path, text: str) -> Path:
    (folder / "x.csv").write_text(text)
    return folder / "x.csv"


@pytest.mark.parametrize("head", ["", "review\n", "text\n", "x\n"])
def test_a_column_of_text(tmp_path: Path, head: str) -> None:
    path = write(tmp_path, f'{head}good film\n"bad, dull film"\n12\n""\n\n')
    assert read_rows(path, TEXT)["review"].tolist() == [["good film"], ["bad, dull film"], ["12"], [""]]


def test_text_that_is_no_name_is_a_row(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, "words,words\na,\n"), WORDS)["words"].tolist() == [["words", "words"], ["a", ""]]
    with pytest.raises(InputError, match="line 2: expected 2 texts, received 1"):
        read_rows(write(tmp_path, "a,b\nc\n"), WORDS)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.json", "named.json", "x.csv"])
def test_every_format_gives_the_same_text(tmp_path: Path, name: str) -> None:
    rows = np.array([["good film"], ["bäd"]])
    path = tmp_path / name
    match name:
        case "x.npy":
            np.save(path, rows)
        case "x.npz":
            np.savez(path, review=rows)
        case "x.json":
            path.write_text(json.dumps(rows.tolist()))
        case "named.json":
            path.write_text(json.dumps({"inputs": {"review": rows.tolist()}}))
        case _:
            path.write_text("good film\nbäd\n", encoding="utf-8")
    read = read_rows(path, TEXT)["review"]
    assert read.dtype == object
    assert read.tolist() == rows.tolist()


def test_columns_by_name_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path, "age, code,colour\n41,7,red\n3.5,,\n")
    read = read_rows(path, TABLE)
    assert {name: array.tolist() for name, array in read.items()} == {
        "colour": [["red"], ["[MASK]"]],
        "age": [41.0, 3.5],
        "code": [[7], [-1]],
    }


def test_columns_with_their_targets(tmp_path: Path) -> None:
    path = write(tmp_path, "age,kind,code,colour\n41,cat,7,red\n33,dog,8,blue\n")
    inputs, targets = read_labelled(path, TABLE, "kind")
    assert targets.tolist() == ["cat", "dog"]
    assert inputs["colour"].tolist() == [["red"], ["blue"]]
    inputs, targets = read_labelled(write(tmp_path, "review,stars\nfine,4\ndull,1\n"), TEXT, "stars")
    assert inputs["review"].tolist() == [["fine"], ["dull"]]
    assert targets.tolist() == [4.0, 1.0]


def test_targets_in_several_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "age,low,high,code,colour\n41,1,2.5,7,red\n33,3,4,8,blue\n")
    inputs, targets = read_labelled(path, TABLE, "low, high")
    assert targets.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert inputs["age"].tolist() == [41.0, 33.0]
    odd = write(tmp_path, 'review,"a,b"\nfine,4\n')  # a column whose own name holds a comma
    assert read_labelled(odd, TEXT, "a,b")[1].tolist() == [4.0]
    for asked, words in (("low,hig", "'hig'"), ("low,low", "once"), ("low,kind", "numbers in each")):
        with pytest.raises(InputError, match=words):
            read_labelled(write(tmp_path, "age,low,kind,high,code,colour\n41,1,cat,2.5,7,red\n"), TABLE, asked)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected columns, received none"),
        ("colour,age\nred,1\n", "expected 3 columns, received 2; missing: 'code'"),
        ("colour,age,code,size\nred,1,2,3\n", "received 4; unknown: 'size'"),
        ("colour,Age,code\nred,1,2\n", "missing: 'age'; unknown: 'Age' (is 'age' meant?)"),
        ("colour,age,code,age\nred,1,2,3\n", "there twice: 'age'"),
        ("colour,age,code\nred,old,7\n", "line 2, column 'age': expected a finite float32 number, received the string"),
        ("colour,age,code\nred,,7\n", "line 2, column 'age': expected a finite float32 number, received nothing"),
        ("colour,age,code\nred,nan,7\n", "line 2, column 'age': expected a finite float32 number, received NaN"),
        ("colour,age,code\n\nred,2024-05-01,7\n", "line 3, column 'age': expected a finite float32 number"),
        ("colour,age,code\nred,2024-05-01,7\n", "received the string '2024-05-01'; send a date as the number"),
        ("colour,age,code\nred,1,1_000\n", "line 2, column 'code': expected an integer"),
        ("colour,age,code\nred,1,7.5\n", "or null, received 7.5"),
        ("colour,age,code\nred,1\n", "line 2: expected 3 values, received 2"),
        ("colour,age,code\n", "expected at least one row"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_rows(write(tmp_path, text), TABLE)
    assert reason in str(caught.value)


def test_a_lone_text_without_a_missing_value(tmp_path: Path) -> None:
    spec: Any = InputSpec(name="word", shape=(), dtype="string")
    assert read_rows(write(tmp_path, 'a\n""\n'), [spec])["word"].tolist() == ["a", ""]
