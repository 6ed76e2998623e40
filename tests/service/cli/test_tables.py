"""Tables of people's own data through the commands: by name, in every format, from end to end."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.service.cli.conftest import Run
from thinned.models.storage import model_store
from thinned.models.storage.model_store import find

ROWS = np.array([[3.0, 70.0, 1990.0], [4.0, 88.0, 2001.0]], "float32")
RECORDS = [{"area": 70, "year": 1990, "rooms": 3}, {"rooms": 4.0, "year": 2001, "area": 88}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and the table that each takes."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("tables")
    x = keras.Input((3,), name="house")
    scaled = layers.Normalization(mean=[3, 80, 2000], variance=[1, 100, 100])(x)
    hidden = layers.Dropout(0.3)(layers.Dense(16, "relu")(scaled))
    keras.Model(x, layers.Dense(1, name="price")(hidden)).save(folder / "table-house.keras")
    age, colour = keras.Input((1,), name="age"), keras.Input((1,), name="colour", dtype="string")
    image, zone = keras.Input((2, 2), name="image"), keras.Input((), name="zone", dtype="int32")
    word = layers.Flatten()(layers.Embedding(4, 3)(layers.StringLookup(vocabulary=["red", "blue"])(colour)))
    parts = [age, word, layers.Flatten()(image), layers.Embedding(20, 3)(zone)]
    both = layers.Dropout(0.3)(layers.Dense(8, "relu")(layers.Concatenate()(parts)))
    outputs = [layers.Dense(1, name="size")(both), layers.Dense(3, "softmax", name="kind")(both)]
    keras.Model([age, colour, image, zone], outputs).save(folder / "table-mixed.keras")
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    masked = layers.LSTM(6)(layers.Embedding(20, 4, mask_zero=True)(tokens))
    keras.Model(tokens, layers.Dense(2, "softmax")(layers.Dropout(0.3)(masked))).save(folder / "table-tokens.keras")
    return folder


@pytest.fixture(scope="module")
def imported(folder: Path) -> Callable[[Run, str], str]:
    """Imports a model the first time that a test asks for it."""
    options = {
        "table-house": ("--task", "regression", "--feature-names", "rooms,area,year"),
        "table-mixed": ("--task", "size=regression", "--task", "kind=classification", "--labels", "kind=a,b,c"),
        "table-tokens": ("--task", "classification"),
    }
    done: set[str] = set()

    def make(thinned: Run, name: str) -> str:
        if name not in done:
            status, _, err = thinned("import", folder / f"{name}.keras", *options[name])
            assert (status, err) == (0, "")
            done.add(name)
        return name

    return make


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.fixture
def house(thinned: Run, imported: Callable[[Run, str], str]) -> Callable[..., Any]:
    """What `thinned predict table-house` answers to a file."""
    name = imported(thinned, "table-house")

    def predict(path: Path | str, *options: object) -> Any:
        status, out, err = thinned("predict", name, "--input", path, "--json", *options)
        return (json.loads(out)["outputs"], err) if status == 0 else (status, err)

    return predict


def test_the_names_decide_the_order(house: Callable[..., Any], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    expected, _ = house(tmp_path / "x.npy")
    assert find("table-house").card.inputs[0].columns == ("rooms", "area", "year")
    files = [
        write(tmp_path / "same.csv", "rooms,area,year\n3,70,1990\n4,88,2001\n"),
        write(tmp_path / "turned.csv", "year, area ,rooms\n1990,70,3.0\n2001,88,4\n"),
        write(tmp_path / "x.json", json.dumps(RECORDS)),
        write(tmp_path / "request.json", json.dumps({"inputs": RECORDS})),
        write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, RECORDS))),
    ]
    for path in files:
        assert house(path) == (expected, ""), path
    path = write(tmp_path / "bare.csv", "3,70,1990\n4,88,2001\n")
    assert house(path) == (expected, f"thinned: {path}: no header; columns are taken in order: rooms, area, year\n")
    assert house(path) == (expected, "")  # once


def test_parquet_is_read_by_name(house: Callable[..., Any], tmp_path: Path) -> None:
    columns = {"area": [70.0, 88.0], "__index_level_0__": [7, 8], "year": [1990, 2001], "rooms": [3, 4]}
    answers, err = house(write_parquet(tmp_path / "x.parquet", columns))
    np.save(tmp_path / "x.npy", ROWS)
    assert (answers, err) == house(tmp_path / "x.npy")
    import datetime

    bad = {"area": [70.0, None], "year": [datetime.date(1990, 1, 1)] * 2, "rooms": ["3", "4"]}
    status, err = house(write_parquet(tmp_path / "bad.parquet", bad))
    assert status == 2
    assert "row 0, column 'year': expected a finite float32 number, received the date 1990-01-01" in err
    status, err = house(write(tmp_path / "no.parquet", "PAR1"))
    assert (status, "expected a Parquet file" in err, err.count("\n")) == (2, True, 1)


def test_a_header_that_does_not_fit_is_refused_by_name(house: Callable[..., Any], tmp_path: Path) -> None:
    cases = {
        "rooms,aera,year\n3,70,1990\n": "missing: 'area'; unknown: 'aera' (is 'area' meant?)",
        "rooms,area,year,price\n3,70,1990,1\n": "expected 3 columns, received 4; unknown: 'price'",
        "rooms;area;year\n3;70;1990\n": "expected values separated by commas; they are separated by ';'",
        "rooms,area,year\n3,70,\n": "line 2, column 'year': expected a finite float32 number, received nothing",
        "rooms,area,year\n3,70,1990\n4,large,2001\n": "line 3, column 'area': expected a finite float32 number",
        "rooms,area,year\n": "expected at least one row",
        "": "expected at least one row",
    }
    for text, said in cases.items():
        status, err = house(write(tmp_path / "x.csv", text))
        assert status == 2
        assert said in err
        assert err.count("\n") == 1
    for path in ("x.xlsx", "x.XLS"):
        assert "save it as CSV or Parquet" in house(write(tmp_path / path, ""))[1]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".npz", ".npy"])
def test_standard_input_says_itself_what_it_is(
    house: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    np.savez(tmp_path / "x.npz", house=ROWS, y=np.zeros(2))
    write(tmp_path / "x.csv", "year,area,rooms\n1990,70,3\n2001,88,4\n")
    write(tmp_path / "x.json", json.dumps(RECORDS, indent=1))
    write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, RECORDS)))
    expected, _ = house(tmp_path / "x.npy")
    content = (tmp_path / f"x{suffix}").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert house("-") == (expected, "")


def test_several_inputs_come_from_columns(thinned: Run, imported: Callable[[Run, str], str], tmp_path: Path) -> None:
    name = imported(thinned, "table-mixed")
    csv = write(
        tmp_path / "x.csv", "zone,colour,age,image_3,image_2,image_1,image_0\n3,red,41,4,3,2,1\n9,blue,3,8,7,6,5\n"
    )
    records = [
        {"image": [[1, 2], [3, 4]], "zone": 3, "colour": "red", "age": 41},
        {"image": [[5, 6], [7, 8]], "zone": 9.0, "colour": "blue", "age": 3},
    ]
    json_file = write(tmp_path / "x.json", json.dumps(records))
    answers = [
        json.loads(thinned("predict", name, "--input", path, "--json")[1])["outputs"] for path in (csv, json_file)
    ]
    assert answers[0] == answers[1]
    status, _, err = thinned("predict", name, "--input", write(csv, csv.read_text().replace("\n9", "\n99")))
    assert status == 2
    assert "line 3, column 'zone': expected an integer from 0 to 19" in err
    assert "received 99" in err


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_answers_are_written_to_a_file(
    thinned: Run, imported: Callable[[Run, str], str], tmp_path: Path, suffix: str
) -> None:
    name = imported(thinned, "table-mixed")
    records = [{"image": [[i, 2], [3, 4]], "zone": i, "colour": "red", "age": 41} for i in range(3)]
    path, written = write(tmp_path / "x.json", json.dumps(records)), tmp_path / f"y{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    arguments = ("predict", name, "--input", path, "--n-samples", "8", "--seed", "1", "--output", written)
    status, out, err = thinned(*arguments)
    assert (status, err) == (0, "")
    assert f"Answers of 3 rows written to {written}, 8 passes, seed 1" in out
    answer = json.loads(thinned(*arguments, "--json")[1])
    means, labels = np.array(answer["mean"]["kind"]), answer["predicted_label"]["kind"]
    match suffix:
        case ".npz":
            read: Any = dict(np.load(written))
            np.testing.assert_array_equal(read["kind.mean"], means)
            assert read["kind.predicted_label"].tolist() == labels
        case ".csv":
            head, *lines = [line.split(",") for line in written.read_text().splitlines()]
            columns = dict(zip(head, zip(*lines, strict=True), strict=True))
            assert [float(cell) for cell in columns["kind.mean_b"]] == means[:, 1].tolist()
            assert list(columns["kind.predicted_label"]) == labels
            assert [float(cell) for cell in columns["size.variance"]] == np.ravel(answer["variance"]["size"]).tolist()
        case _:
            from pyarrow import parquet

            columns = parquet.read_table(written).to_pydict()
            assert columns["kind.mean_c"] == means[:, 2].tolist()
            assert columns["kind.predicted_label"] == labels
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted({"x.json", written.name})


def test_a_file_that_cannot_be_written_is_refused_before_work_begins(
    thinned: Run, imported: Callable[[Run, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = imported(thinned, "table-house")
    (tmp_path / "y.csv").mkdir()
    for output, said in {"y.csv": "is a folder", "no/y.csv": "there is no folder", "y.txt": "ends in .parquet"}.items():
        status, _, err = thinned("predict", name, "--input", tmp_path / "none.csv", "--output", tmp_path / output)
        assert status == 2
        assert said in err  # and not that there is no none.csv
    old = write(tmp_path / "old.csv", "kept")
    from thinned.service.cli import answer_files

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answer_files.os, "fdopen", full)
    path = write(tmp_path / "x.json", json.dumps(RECORDS))
    status, _, err = thinned("predict", name, "--input", path, "--output", old)
    assert status == 1
    assert err.startswith("thinned: the disk is full: ")
    assert old.read_text() == "kept"
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []


def test_calibrated_intervals_and_what_cannot_be_calibrated_with(
    thinned: Run, imported: Callable[[Run, str], str], tmp_path: Path
) -> None:
    name = imported(thinned, "table-house")
    draw = np.random.default_rng(0)
    x = draw.normal((3, 80, 2000), (1, 10, 10), (60, 3)).round(3)
    lines = [f"{row[1]},{i / 10},{row[2]},{row[0]}" for i, row in enumerate(x)]
    text = "area,price,year,rooms\n" + "\n".join(lines)
    path = write(tmp_path / "rows.csv", text)
    wrong = {
        text.replace(",0.3,", ",,"): "line 5, column 'price': the target is missing",
        text.replace(",0.3,", ",NaN,"): "line 5: expected a finite target, received nan; 1 of 60 rows",
    }
    for other, said in wrong.items():
        status, _, err = thinned("calibrate", name, "--data", write(tmp_path / "x.csv", other), "--target", "price")
        assert status == 2
        assert said in err
    np.savez(tmp_path / "x.npz", x=x, y=np.where(np.arange(60) == 7, np.nan, 0.0))
    assert (
        "row 7: expected a finite target, received nan" in thinned("calibrate", name, "--data", tmp_path / "x.npz")[2]
    )
    status, out, _ = thinned("calibrate", name, "--data", path, "--target", "price", "--n-samples", "16", "--json")
    made = f"{name}:{json.loads(out)['version']}"
    grouped = "\n".join(f"{line},{'who' if i == 0 else i // 3}" for i, line in enumerate(text.split("\n")))
    asked = ("calibrate", name, "--data", write(tmp_path / "g.csv", grouped), "--target", "price", "--n-samples", "4")
    status, out, err = thinned(*asked, "--group", "who")
    assert status == 0, err
    assert "n = 14 counts groups, not rows" in out
    assert "counts groups, not rows" in thinned("show", name)[1]
    model_store.delete(model_store.find(name).tag)
    assert "expected a column 'whose' of groups" in thinned(*asked, "--group", "whose")[2]
    write(tmp_path / "g.csv", grouped.replace(",1\n", ",\n", 1))
    assert "line 4, column 'who': the group is missing" in thinned(*asked, "--group", "who")[2]
    rows = write(tmp_path / "x.json", json.dumps(RECORDS))
    status, out, err = thinned("predict", made, "--input", rows, "--coverage", "0.8")
    assert (status, err) == (0, "")
    assert "interval of 80 %" in out
    assert "16 passes" in out
    for other in (("--n-samples", "8"), ("--tolerance", "1"), ("--sampling", "independent")):
        status, _, err = thinned("predict", made, "--input", rows, "--coverage", "0.8", *other)
        assert status != 0
        assert "holds for answers of 16 stratified passes" in err
    written = tmp_path / "y.csv"
    assert thinned("predict", made, "--input", rows, "--coverage", "0.8", "--seed", "1", "--output", written)[0] == 0
    assert written.read_text().splitlines()[0] == "mean,variance,standard_error,lower,upper"
    model_store.delete(made)


def test_rows_unlike_known_ones_are_told(thinned: Run, imported: Callable[[Run, str], str], tmp_path: Path) -> None:
    name = imported(thinned, "table-house")
    rows = write(tmp_path / "x.json", json.dumps(RECORDS))
    status, _, err = thinned("predict", name, "--input", rows, "--ood")
    assert status != 0
    assert "run thinned calibrate NAME --data val.npz --ood" in err
    x = np.random.default_rng(0).normal((3, 80, 2000), (1, 10, 10), (90, 3)).round(3)
    bare = [f"{row[1]},{row[2]},{row[0]}" for row in x]
    labelled = "area,year,rooms,price,who\n" + "\n".join(f"{line},{i},{i // 3}" for i, line in enumerate(bare[:60]))
    known = write(tmp_path / "known.csv", "area,year,rooms\n" + "\n".join(bare[60:]))
    asked = ("calibrate", name, "--data", write(tmp_path / "rows.csv", labelled), "--target", "price")
    asked = (*asked, "--group", "who", "--n-samples", "4")
    status, _, err = thinned(*asked, "--reference", known)
    assert status == 2
    assert "--reference is of --ood" in err
    assert "no such file" in thinned(*asked, "--ood", "--reference", tmp_path / "none.csv")[2]
    assert "is among the calibration rows" in thinned(*asked, "--ood", "--reference", tmp_path / "rows.csv")[2]
    more = write(tmp_path / "more.csv", labelled + "\n" + "\n".join(f"{line},1,a" for line in bare[60:]))
    for reference in (known, more):
        status, out, err = thinned(*asked, "--ood", "--reference", reference)
        assert status == 0, err
        assert "with 30 reference rows, and the distance to the nearest with those of 20 groups, each group" in out
    far = write(tmp_path / "far.csv", "area,year,rooms\n" + "\n".join(f"{900 + i},2100,9" for i in range(30)))
    priced = "area,year,rooms,price\n" + "\n".join(f"{line},{i}" for i, line in enumerate(bare[:60]))
    scored = ("evaluate", name, "--data", write(tmp_path / "priced.csv", priced), "--target", "price", "--ood", far)
    status, out, err = thinned(*scored, "--n-samples", "4", "--out", tmp_path / "report")
    assert (status, err) == (0, "")
    assert re.search(
        r"p-values of 0\.05 at most: \d.*%.*, 100\.0% of those of --ood, and lie farther .* 1 \[1, 1\]", out
    )
    assert "Rows unlike known ones" in (tmp_path / "report" / "index.html").read_text()
    told = json.loads((tmp_path / "report" / "evaluation.json").read_text())["unlike"]
    assert told["other_share"] == told["auroc"] == 1
    assert told["own_share"] < 0.5
    status, out, err = thinned(*asked, "--ood", "--json")
    assert (json.loads(out)["ood"]["reference"], json.loads(out)["ood"]["n"]) == (30, 10)
    assert "The least that so few calibration rows allow is 0.0909" in thinned(*scored, "--n-samples", "4")[1]
    assert "p-values of ood: rows are compared by" in thinned("show", name)[1]
    for more in ((), ("--n-samples", "4")):
        status, out, err = thinned("predict", name, "--input", rows, "--ood", *more)
        assert (status, err) == (0, "")
        assert "p-value" in out
    written = tmp_path / "y.csv"
    assert thinned("predict", name, "--input", rows, "--ood", "--output", written)[0] == 0
    assert written.read_text().splitlines()[0].endswith("ood_score,ood_p_value")
    for version in model_store.tags(name)[1:]:
        model_store.delete(version)


def test_rows_of_different_length_answer_as_they_do_alone(
    thinned: Run, imported: Callable[[Run, str], str], tmp_path: Path
) -> None:
    name = imported(thinned, "table-tokens")
    rows = [[1, 2, 3], [4], [5, 6]]
    path = write(tmp_path / "x.json", json.dumps(rows))
    together = json.loads(thinned("predict", name, "--input", path, "--json")[1])["outputs"]
    for row, answer in zip(rows, together, strict=True):
        alone = json.loads(thinned("predict", name, "--input", write(path, json.dumps([row])), "--json")[1])["outputs"]
        np.testing.assert_allclose(alone[0], answer, rtol=1e-5)
    assert "shorter rows are filled up with 0" in thinned("show", name)[1]


def test_the_names_that_are_given_must_fit(thinned: Run, folder: Path) -> None:
    house, tokens = folder / "table-house.keras", folder / "table-tokens.keras"
    cases = {
        (house, "--feature-names", "a,b"): "input 'house' takes 3 values in a row, received 2 names",
        (house, "--feature-names", "a,b,a"): "expects names that differ and are not empty; 'a' is there",
        (house, "--feature-names", "a,,b"): "expects names that differ and are not empty; '' is there",
        (house, "--feature-names", "flat=a,b,c"): "expects an input of the model (house), received 'flat'",
        (house, "--padding", "0"): "all rows of input 'house' are as long",
        (tokens, "--feature-names", "a,b"): "input 'tokens' takes rows of any length",
        (tokens, "--padding", "20"): "expects an integer from 0 to 19 for input 'tokens', received '20'",
        (tokens, "--padding", "none"): "received 'none'",
        (house, "--image-resize", "area"): "expects an input of numbers of shape (height, width), (height, width, 1)",
        (house, "--image-resize", "best"): "expects nearest, bilinear, bicubic, area, bilinear-antialias",
    }
    for arguments, said in cases.items():
        status, _, err = thinned("import", arguments[0], "--name", "table-none", "--task", "regression", *arguments[1:])
        assert status == 2
        assert said in err


def test_how_images_are_resized_is_shown(thinned: Run, tmp_path: Path) -> None:
    import keras
    from keras import layers as L

    path = tmp_path / "table-image.keras"
    keras.Sequential([keras.Input((4, 5)), L.Flatten(), L.Dropout(0.5), L.Dense(1)]).save(path)
    for method, shown in (("none", False), ("bilinear-antialias", True)):
        status, _, err = thinned("import", path, "--task", "regression", "--image-resize", method)
        assert status == 0, err
        said = "images of another size are resized, bilinear-antialias"
        assert (said in thinned("show", "table-image")[1]) is shown


def test_what_is_missing_for_parquet_is_named(
    house: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thinned.service.cli import options

    monkeypatch.setattr(options, "_is_installed", lambda package: package != "pyarrow")
    said = 'this needs pyarrow, which is not installed; install it with: pip install "thinned[data]"'
    assert said in house(write(tmp_path / "x.parquet", "PAR1"))[1]
    path = write(tmp_path / "x.json", json.dumps(RECORDS))
    assert said in house(path, "--output", tmp_path / "y.parquet")[1]
