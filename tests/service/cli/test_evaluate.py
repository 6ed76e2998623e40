"""`thinned evaluate` and `thinned calibrate`, as a person uses them, and the files that they read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.service.audited import sound
from tests.service.cli.conftest import Run
from thinned.models.card import InputSpec
from thinned.models.errors import InputError
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model
from thinned.models.storage.pointers import set_alias
from thinned.service.cli.data_files import read_labelled, read_rows

X = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
Y = X[:, 0] + 0.1
SPECS = (InputSpec(name="x", shape=(6,), dtype="float32"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored model `scored`, and files of rows and targets."""
    folder = tmp_path_factory.mktemp("scored")
    sound().save(folder / "scored.keras")
    import_model(folder / "scored.keras", name="scored", tasks={None: "regression"})
    np.savez(folder / "rows.npz", x=X, y=Y)
    np.savez(folder / "other.npz", x=9 * X)
    head = "a,b,c,d,e,f,price"
    np.savetxt(folder / "rows.csv", np.c_[X, Y], delimiter=",", header=head, comments="", fmt="%.9g")
    return folder


def test_answers_have_the_fitted_temperature_unless_plain_ones_are_asked_for(thinned: Run, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    x = keras.Input((6,), name="x")
    hidden = keras.layers.Dropout(0.4)(keras.layers.Dense(16, activation="relu")(x))
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax", name="kind")(hidden))
    model.save(tmp_path / "kinds.keras")
    import_model(tmp_path / "kinds.keras", name="kinds", tasks={None: "classification"})
    np.savez(tmp_path / "kinds.npz", x=X, y=np.random.default_rng(1).integers(0, 3, len(X)))
    np.save(tmp_path / "x.npy", X[:3])
    assert thinned("calibrate", "kinds", "--data", tmp_path / "kinds.npz", "--n-samples", "8")[0] == 0
    asked = ("predict", "kinds", "--input", tmp_path / "x.npy", "--n-samples", "8", "--seed", "1")
    status, out, _ = thinned(*asked)
    assert status == 0
    assert "--plain gives those of the network" in out
    assert "temperature" not in thinned(*asked, "--plain")[1]
    tempered, plain = (json.loads(thinned(*asked, "--json", *more)[1]) for more in ((), ("--plain",)))
    assert tempered["mean"] != plain["mean"]
    assert tempered["plain_mean"] == plain["mean"]


def test_evaluate_calibrate_and_evaluate_again(thinned: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/thinned", "evaluate", "scored", "--data", "my rows.npz"])
    common = ("--data", folder / "rows.npz", "--n-samples", "1,10")
    status, out, err = thinned("evaluate", "scored", *common, "--ood", folder / "other.npz", "--out", folder / "report")
    assert (status, err) == (0, "")
    assert "root mean squared error" in out
    assert "--ood rows told by the passes' spread" in out
    written = {path.name for path in (folder / "report").iterdir()}
    assert {"index.html", "evaluation.json", "passes_rmse.png"} <= written
    assert not [name for name in written if name.startswith(".")]
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    for fact in (
        str(folder / "rows.npz"),
        "thinned evaluate scored --data &#x27;my rows.npz&#x27;",
        "tensorflow 2.",
        " cores, ",
    ):
        assert fact in page
    about = json.loads((folder / "report" / "evaluation.json").read_text(encoding="utf-8"))["about"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])
    before = model_store.find("scored").version
    set_alias("scored", "live")
    asked = ("--data", folder / "rows.csv", "--target", "price", "--note", "of May")
    status, out, _ = thinned("calibrate", "scored", *asked)
    assert status == 0
    made, live = model_store.find("scored"), model_store.find("scored@live")
    assert f"Calibrated the output {made.card.outputs[0].name} on 40 rows with 128 passes." in out
    assert "Next: thinned serve scored\n" in out
    assert "thinned evaluate scored --data OTHER.csv --target price" in out
    assert f"scored@live stays with {live.tag}; to move it: thinned alias {made.tag} live" in out
    shown = thinned("show", "scored")[1]
    assert "note: of May" in shown
    assert re.search(
        r"was calibrated on \d{4}-\d\d-\d\d \d\d:\d\d on 40 rows with 128 passes: observation noise, conf", shown
    )
    listed = [card for card in json.loads(thinned("models", "--json")[1]) if card["name"] == "scored"]
    assert [card["latest"] for card in listed] == [False, True]
    assert [card["aliases"] for card in listed] == [["live"], []]
    assert listed[1]["outputs"][0]["calibration"]["rows"] == 40
    assert "scores" not in listed[1]["outputs"][0]["calibration"]
    assert "Standard deviation of the observation noise" in out
    assert f"scored:{before} stays" in out
    status, out, _ = thinned("evaluate", "scored", *common, "--json")
    series = json.loads(out)["series"]
    assert series[-1]["name"] == "calibrated passes"
    assert series[-1]["n_samples"] == [1, 10, 128]
    low, high = series[-1]["intervals"][-1]["rmse"]
    assert low < series[-1]["scores"][-1]["rmse"] < high
    named = folder / "wards.csv"
    wards = np.repeat(["north", "süd"], 20)
    lines = [",".join([*map("{:.9g}".format, row), ward]) for row, ward in zip(np.c_[X, Y], wards, strict=True)]
    named.write_text("a,b,c,d,e,f,price,ward\n" + "\n".join(lines), encoding="utf-8")
    wanted = ("--data", named, "--target", "price", "--n-samples", "10", "--by", "ward")
    status, out, _ = thinned("evaluate", "scored", *wanted)
    assert status == 0
    assert "By ward, * the lowest" in out
    assert "Lowest of 2 groups by ward: " in out
    status, _, err = thinned("evaluate", "scored", *wanted[:-1], "floor")
    assert (status, "expected a column 'floor' of groups among its columns" in err) == (2, True)
    status, out, _ = thinned("calibrate", "scored", "--data", folder / "rows.npz", "--json")
    assert json.loads(out)["output"]["calibration"]["rows"] == 40
    status, _, err = thinned("calibrate", "scored", "--data", folder / "rows.npz", "--sets", "aps")
    assert status == 2
    assert "tells numbers, and has intervals, not sets: leave --sets and --empty-sets out" in err


def test_csv_and_npz_hold_the_same(folder: Path) -> None:
    for path, target in ((folder / "rows.npz", None), (folder / "rows.csv", "price")):
        inputs, targets = read_labelled(path, SPECS, target)
        np.testing.assert_allclose(inputs["x"], X, rtol=1e-6)
        np.testing.assert_allclose(targets, Y, rtol=1e-6)
    assert read_rows(folder / "rows.npz", SPECS)["x"].shape == (40, 6)


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("rows.csv", None, "--target COLUMN"),
        ("rows.csv", "nothing", "expected a column 'nothing'"),
        ("rows.npz", "nothing", "array of targets named nothing"),
        ("other.npz", None, "array of targets named y"),
        ("scored.keras", None, "expected a file that ends in"),
        ("rows.npy", None, r"expected a table \(\.csv, \.parquet or records in \.json\) or a \.npz file"),
        ("absent.csv", "y", "no such file"),
        ("ragged.csv", "y", "line 2: expected 7 values, received 3"),
        ("words.csv", "price", "line 2, column 'a': expected a finite float32 number, received the string 'one'"),
        ("narrow.csv", "price", "expected 6 numbers beside the target, received 2"),
        ("uneven.npz", None, "as many targets as rows, received 3 and 40"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder: Path, name: str, target: str | None, reason: str) -> None:
    (folder / "ragged.csv").write_text("a,b,c,d,e,f,y\n1,2,3\n")
    (folder / "words.csv").write_text("a,b,c,d,e,f,price\none,2,3,4,5,6,7\n")
    (folder / "narrow.csv").write_text("a,b,price\n1,2,3\n")
    np.savez(folder / "uneven.npz", x=X, y=Y[:3])
    np.save(folder / "rows.npy", X)
    with pytest.raises(InputError, match=reason):
        read_labelled(folder / name, SPECS, target)


def test_wrong_use_is_one_line(thinned: Run, folder: Path) -> None:
    data = ("--data", folder / "rows.npz")
    for arguments, expected in (
        (("evaluate", "scored", *data, "--n-samples", "1,many"), "numbers of passes"),
        (("evaluate", "scored", *data, "--output", "z"), "--output expects one of y; received 'z'"),
        (("evaluate", "nothing-there", *data), "no model 'nothing-there'"),
        (("calibrate", "scored", "--data", folder / "other.npz"), "array of targets"),
    ):
        status, _, err = thinned(*arguments)
        assert status == 2
        assert expected in err
        assert err.count("\n") == 1


def test_a_csv_gives_a_length_that_varies_its_length(tmp_path: Path) -> None:
    spec = InputSpec(name="steps", shape=(None, 2), dtype="float32")
    path = tmp_path / "steps.csv"
    path.write_text("a,b,c,d,y\n1,2,3,4,0.5\n5,6,7,8,1.5\n")
    inputs, targets = read_labelled(path, (spec,), "y")
    assert inputs["steps"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert targets.tolist() == [0.5, 1.5]
    path.write_text("a,b,c,y\n1,2,3,0.5\n")
    with pytest.raises(InputError, match=r"expected rows of .×2 values"):
        read_labelled(path, (spec,), "y")
