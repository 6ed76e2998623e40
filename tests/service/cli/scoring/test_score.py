"""`thinned score`: every row answered as it would be alone, each file whole, and a run that goes on."""

from __future__ import annotations

import csv
import fcntl
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import thinned as public
from tests.service.cli.conftest import Run
from tests.service.cli.scoring.conftest import COLUMNS, Rows
from tests.service.conftest import Served

ASKED = ("--n-samples", "40", "--seed", "7")


def answers(folder: Path) -> Any:
    return parquet.read_table(folder)


def values(table: Any, *columns: str) -> Any:
    return np.column_stack([table[name].to_numpy() for name in columns])


def rejects(folder: Path) -> list[dict[str, str]]:
    with (folder / "_rejects.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_has_its_own_answer_whatever_its_place_and_all_see_the_same_networks(
    thinned: Run, rowwise: str, rows: Rows, serve: Callable[..., Served], tmp_path: Path
) -> None:
    """In parts of 7 rows; in another order and in other parts; as `/predict_mc` answers all of them, and some alone."""
    status, out, err = thinned(
        "score", rowwise, "--input", rows.file, "--output", tmp_path / "a", *ASKED, "--samples", "--part-rows", 7
    )
    assert (status, err) == (0, "")
    assert "40 rows scored in" in out
    found = answers(tmp_path / "a")
    assert found["row"].to_pylist() == list(range(40))
    assert (found["größe"].to_pylist(), found["input_mean_0"].to_pylist()) == (
        rows.table["größe"].to_pylist(),
        list(range(40)),
    )
    service = serve(rowwise)
    for asked in (range(40), [3], [21], [39]):
        body = {"inputs": rows.x[list(asked)].tolist(), "n_samples": 40, "seed": 7}
        expected = service.ask("POST", "/predict_mc", json=body).json()
        for field in ("mean", "variance", "standard_error"):
            scored = values(found, f"{field}_0", f"{field}_1")[list(asked)]
            np.testing.assert_allclose(scored, expected[field], rtol=1e-5, atol=1e-9)
    loaded = public.load(rowwise)
    # What rows have in common: the sum over rows that are in different parts, pass by pass.
    passes = np.asarray(found["samples"].to_pylist())  # rows, passes, numbers
    together = loaded.sample(rows.x, n_samples=40, seed=7)
    np.testing.assert_allclose(passes.sum(axis=0), together.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(passes[0], passes[-1], rtol=1e-6)
    order = np.random.default_rng(3).permutation(40)
    parquet.write_table(rows.table.take(order), tmp_path / "turned.parquet")
    assert thinned("score", rowwise, "--input", tmp_path / "turned.parquet", "--output", tmp_path / "b", *ASKED)[0] == 0
    turned = answers(tmp_path / "b")
    np.testing.assert_allclose(
        values(turned, "mean_0", "variance_1"), values(found, "mean_0", "variance_1")[order], rtol=1e-5
    )
    said = parquet.read_schema(tmp_path / "a" / "part-000005.parquet").metadata[b"thinned"].decode()
    for fact in (f'"model": "{rowwise}"', '"seed": 7', '"n_samples": 40', "tensorflow 2.", "keras 3."):
        assert fact in said


def test_csv_arrays_and_images_have_the_same_answers(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    import tensorflow as tf

    images = tmp_path / "images" / "in"
    images.mkdir(parents=True)
    for number, pixels in enumerate(rows.x):
        content = tf.io.encode_png(pixels[..., np.newaxis].astype("uint8")).numpy()
        (images / f"{number:02}.png").write_bytes(content)
    (images / "40.png").write_bytes(content[:-20])
    (images / "41.png").write_bytes(tf.io.encode_png(np.zeros((3, 2, 1), "uint8")).numpy())
    (images / "notes.txt").write_text("passed over")
    np.savez_compressed(tmp_path / "rows.npz", x=rows.x, id=np.arange(40) * 2, other=np.zeros(3))
    with fsspec.open("memory://scored/rows.csv", "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "note"])
        for number, row in enumerate(rows.x.reshape(40, 6)):
            writer.writerow([*row, f"line\n{number}, say"])
    given = {
        "csv": "memory://scored/rows.csv",
        "npz": f"file://{tmp_path}/rows.npz",
        "images": tmp_path / "images",
    }
    found = {}
    for kind, place in given.items():
        folder = tmp_path / "out" / kind
        status, _, err = thinned("score", rowwise, "--input", place, "--output", folder, *ASKED, "--part-rows", 16)
        assert (status, err) == (3 if kind == "images" else 0, "")
        found[kind] = answers(folder)
        np.testing.assert_allclose(
            values(found[kind], "mean_0", "variance_1"), values(answers(folder.parent / "csv"), "mean_0", "variance_1")
        )
    assert found["csv"]["note"].to_pylist()[17] == "line\n17, say"
    assert found["npz"]["id"].to_pylist()[39] == 78
    assert "other" not in found["npz"].column_names
    assert found["images"]["file"].to_pylist()[3] == "in/03.png"
    broken, turned = rejects(tmp_path / "out" / "images")
    assert (broken["row"], broken["place"]) == ("40", "in/40.png")
    assert "it ends too early" in broken["reason"]
    assert "3 pixels, grey" in turned["reason"]


def test_rows_of_different_length_are_not_filled_up(thinned: Run, ragged: str, tmp_path: Path) -> None:
    tokens = [[1, 2, 3], [4], [5, 6, 7, 8, 1, 2], [1, 2, 3], [], None, [10], [1, None]]
    parquet.write_table(pyarrow.table({"tokens": tokens}), tmp_path / "rows.parquet")
    status, _, _ = thinned(
        "score", ragged, "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out", *ASKED, "--coverage", "0.9"
    )
    assert status == 2  # it is not calibrated, which is told before anything is written
    assert not (tmp_path / "out").exists()
    asked = ("score", ragged, "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out", *ASKED)
    assert thinned(*asked)[0] == 3
    found = answers(tmp_path / "out")
    assert found["row"].to_pylist() == [0, 1, 2, 3]
    loaded = public.load(ragged)
    for place, row in enumerate(tokens[:4]):
        alone = np.asarray(loaded.summary([row], n_samples=40, seed=7)["mean"])[0]
        np.testing.assert_allclose(values(found, "mean_0", "mean_1", "mean_2")[place], alone, rtol=1e-5)
    assert [reject["row"] for reject in rejects(tmp_path / "out")] == ["4", "5", "6", "7"]
    assert "column 'tokens'" in rejects(tmp_path / "out")[3]["reason"]


def test_rows_that_cannot_be_answered_are_told_by_themselves(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path
) -> None:
    lines = [[*map(str, row), f"k{i}"] for i, row in enumerate(rows.x.reshape(40, 6))]
    lines[2][1], lines[3][2], lines[5][0], lines[8] = "", "nan", "many", lines[8][:4]
    text = "\n".join([",".join([*COLUMNS, "name"]), *map(",".join, lines)])
    open_quote = b'\n1,2,3,4,5,6,"k40\n1,2,3,4,5,6,k41\n'
    (tmp_path / "rows.csv").write_bytes(text.encode().replace(b"k11", b"\xff11") + open_quote)
    asked = ("score", rowwise, "--input", tmp_path / "rows.csv", "--output", tmp_path / "out", "--key", "name", *ASKED)
    status, out, _ = thinned(*asked)
    assert status == 3
    assert "35 rows scored" in out
    assert "6 rows rejected, with the reason: " in out
    told = rejects(tmp_path / "out")
    assert [(reject["row"], reject["key"]) for reject in told[:3]] == [("2", "k2"), ("3", "k3"), ("5", "k5")]
    assert told[0]["reason"] == "column 'x_1': expected a finite float32 number, received nothing"
    assert [reject["reason"] for reject in told[3:]] == [
        "expected 7 values, received 4",
        "expected text in UTF-8 (invalid start byte)",
        "expected values separated by commas (unexpected end of data)",
    ]
    assert told[3]["place"].endswith("rows.csv: line 10")
    assert len(set(answers(tmp_path / "out")["row"].to_pylist())) == 35
    status, out, err = thinned(*asked)  # once more: nothing is left to do
    assert (status, err) == (3, "")
    assert "All rows were scored before" in out


def test_a_set_without_a_good_row_is_done(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    none = rows.table.set_column(0, "x_0", pyarrow.array([None] * 40, pyarrow.float32()))
    parquet.write_table(none, tmp_path / "none.parquet")
    asked = ("score", rowwise, "--input", tmp_path / "none.parquet", "--output", tmp_path / "out", *ASKED)
    status, out, _ = thinned(*asked)
    assert status == 3
    assert "0 rows scored" in out
    assert answers(tmp_path / "out").num_rows == 0
    assert "mean_0" in answers(tmp_path / "out").column_names
    assert len(rejects(tmp_path / "out")) == 40


def test_the_same_command_goes_on_and_writes_the_same_bytes(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    asked = ("score", rowwise, "--input", rows.file, "--output", folder, "--n-samples", "40", "--part-rows", "9")
    assert thinned(*asked)[0] == 0  # the seed is drawn
    whole = {path.name: path.read_bytes() for path in folder.glob("part-*")}
    # As a run is found that was killed: some parts, half of another, and no word of its end.
    for name in ("part-000001.parquet", "part-000004.parquet", "_done.json"):
        (folder / name).unlink()
    (folder / "part-000001.parquet.unfinished-here-1").write_bytes(b"PAR1")
    status, out, _ = thinned(*asked)
    assert status == 0
    assert "Going on behind 27 of 40 rows" in out
    assert {path.name: path.read_bytes() for path in folder.glob("part-*")} == whole
    # What would make it another run is refused by name.
    status, _, err = thinned(*asked, "--seed", "8")
    assert status == 2
    assert "holds another run of thinned score: seed " in err
    shutil.copy(rows.file, tmp_path / "kept.parquet")
    parquet.write_table(rows.table.slice(1), rows.file)
    assert "another run of thinned score: other data " in thinned(*asked)[2]
    shutil.copy2(tmp_path / "kept.parquet", rows.file)
    (folder / "_done.json").unlink()
    with (folder / "_lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is writing there" in thinned(*asked, "--n-samples", "41")[2]


def test_a_disk_that_is_full_ends_a_run_and_the_same_command_goes_on(
    thinned: Run, rowwise: str, rows: Rows, tmp_path: Path
) -> None:
    """A limit on the length of files stands for the disk: a part does not fit, what says what run it is does."""
    asked = ("score", rowwise, "--input", rows.file, "--output", tmp_path / "out", *ASKED, "--part-rows", "20")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, hard))
    try:
        status, _, err = thinned(*asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    assert err.count("\n") == 1
    assert "part-000000.parquet" in err
    assert not list((tmp_path / "out").glob("part-*"))
    assert thinned(*asked)[0] == 0
    assert answers(tmp_path / "out").num_rows == 40


@pytest.mark.long
def test_a_run_killed_at_any_moment_goes_on_and_writes_the_same_bytes(rowwise: str, rows: Rows, tmp_path: Path) -> None:
    parquet.write_table(pyarrow.concat_tables([rows.table] * 1000), rows.file)
    begin = [sys.executable, "-m", "thinned", "score", rowwise, "--input", str(rows.file), *ASKED, "--part-rows", "400"]
    subprocess.run([*begin, "--output", tmp_path / "whole"], check=True, stdout=subprocess.DEVNULL)
    folder = tmp_path / "killed"
    kills = 0
    while not (folder / "_done.json").exists():
        done = len(list(folder.glob("part-*")))
        run = subprocess.Popen([*begin, "--output", folder], stdout=subprocess.DEVNULL)
        while run.poll() is None and len(list(folder.glob("part-*"))) <= done:
            time.sleep(0.01)
        try:
            run.wait(random.uniform(0, 0.4) if kills < 4 else 60)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            kills += 1
    assert kills
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("part-*")}
    assert len(whole) == 100
    assert {path.name: path.read_bytes() for path in folder.glob("part-*.parquet")} == whole
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
