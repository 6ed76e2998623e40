"""`thinned`, as a person uses it: what it prints, and that wrong use is one clear line and status 2."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.serving import ROOT, run_cli
from thinned.models.storage import model_store
from thinned.service.cli import main as cli
from thinned.service.cli import serve as cli_serve
from thinned.service.inference.engine import Engine
from thinned.service.inference.model_manager import ModelManager
from thinned.service.settings import Settings

X = np.random.default_rng(5).normal(size=(3, 4)).astype("float32")


class Done(NamedTuple):
    status: Any
    out: str
    err: str


Thinned = Callable[..., Done]


@pytest.fixture
def thinned(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Thinned:
    """Runs the command in this process; what TensorFlow would write past Python is caught too."""
    monkeypatch.setattr(cli, "_quieten", lambda: None)

    def thinned(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        return Done(ended.value.code, *capfd.readouterr())

    return thinned


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model files, and rows for them."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    folder = tmp_path_factory.mktemp("cli")
    x, z = keras.Input((4,), name="x"), keras.Input((2,), name="z")
    hidden = layers.Dropout(0.5)(layers.Dense(16, activation="relu")(x))
    both = layers.Dropout(0.5)(layers.Concatenate()([x, z]))
    saved = {
        "value": keras.Model(x, layers.Dense(2, name="y")(hidden)),
        "pets": keras.Model(x, layers.Dense(3, activation="softmax", name="kind")(hidden)),
        "ill": keras.Model(x, layers.Dense(1, activation="sigmoid", name="ill")(hidden)),
        "two": keras.Model([x, z], [layers.Dense(1, name="size")(both), layers.Dense(2, "softmax", name="kind")(both)]),
        "still": keras.Model(x, layers.Dense(2)(x)),
    }
    for name, model in saved.items():
        model.save(folder / f"{name}.keras")
    np.save(folder / "x.npy", X)
    np.save(folder / "wide.npy", np.ones((3, 5), "float32"))
    np.savetxt(folder / "x.csv", X, delimiter=",", header="a,b,c,d", comments="", fmt="%.9g")
    np.savez(folder / "two.npz", x=X, z=X[:, :2])
    (folder / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    return folder


@pytest.fixture(scope="module")
def home(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a model of each kind, filled by the command itself."""
    home = tmp_path_factory.mktemp("home")
    # One in a process of its own, as a person would; the others here, without starting TensorFlow anew.
    done = run_cli("import", str(folder / "still.keras"), "--task", "regression", env={"BENTOML_HOME": str(home)})
    assert done.stderr == ""  # TensorFlow's greeting would stand here.
    assert "Warning: " in done.stdout
    assert "Stored as still:" in done.stdout
    choices = {
        "value": ["--task", "regression"],
        "pets": ["--task", "classification", "--labels", "cat,dog,eel"],
        "ill": ["--task", "classification", "--labels", "well,ill"],
        "two": ["--task", "size=regression", "--task", "kind=classification"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_store, "_root", lambda: home / "models")
        patch.setattr(cli, "_quieten", lambda: None)
        for name, options in choices.items():
            with pytest.raises(SystemExit) as ended:
                cli.main(["import", str(folder / f"{name}.keras"), *options])
            assert ended.value.code == 0
    return home


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(model_store, "_root", lambda: home / "models")
    return home / "models"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "models"
    root.mkdir()
    monkeypatch.setattr(model_store, "_root", lambda: root)
    return root


@pytest.mark.parametrize(
    "command", ["train", "import", "models", "show", "predict", "serve", "delete", "alias", "rollback", "build"]
)
def test_help_teaches_by_example(thinned: Thinned, command: str) -> None:
    done = thinned(command, "--help")
    assert done.status == 0
    assert done.err == ""
    assert "Example" in done.out
    assert f"\n    thinned {command}" in done.out
    assert f"\n  {command} " in thinned("--help").out


def test_alone_it_says_what_it_is(thinned: Thinned) -> None:
    done = thinned()
    assert (done.status, done.err) == (0, "")
    assert "Serve any Keras model" in done.out
    assert "thinned train digits" in done.out
    assert thinned("--version").out.startswith("thinned 0.")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frob", "No such command 'frob'"),
        ("--frob", "No such option: --frob"),
        ("train", "Missing argument 'digits|diabetes'"),
        ("train mnist", "'mnist' is not one of 'digits', 'diabetes'"),
        ("import", "Missing argument 'FILE.keras|FILE.h5'"),
        ("import value.keras", "Missing option '--task'"),
        ("import value.keras --task guess", "--task expects classification or regression"),
        ("import value.keras --task classification", "pass --scale logits or --scale probabilities"),
        ("import value.keras --task regression --labels a,b", "labels given for a regression"),
        ("import value.keras --task regression --name Big", "'Big' cannot be a model's name"),
        ("import value.keras --task regression --module nowhere", "no module of that name"),
        ("import value.keras --task regression --input-dtype int32", "needs an --input-shape"),
        (
            "import pets.keras --task classification --labels a,b",
            "has 3 classes, expected as many labels, received 2 (",
        ),
        ("import two.keras --task size=regression", "'kind' has no task; add --task kind=classification"),
        ("import missing.keras --task regression", "no such file"),
        ("import old.h5 --task regression", "old.h5: it is damaged or cut short"),
        ("import value.keras --task regression --expect none.npz", "pass a .npz of inputs and outputs to --expect"),
        ("import value.keras --task regression --expect two.npz", "expected arrays named y (or y), received x, z"),
        ("audit old.h5", "old.h5: it is damaged or cut short"),
        ("import . --task regression", "is a folder"),
        ("show", "Missing argument 'NAME'"),
        ("show nope", "no model 'nope' in the store; it has ill, pets, still, two, value"),
        ("show pets:nope", "no version 'nope'"),
        ("show a/b", "'a/b' is no model's name"),
        ("delete nope --yes", "no model 'nope'"),
        ("predict pets", "Missing option '--input'"),
        ("predict nope --input x.npy", "no model 'nope'"),
        ("predict pets --input none.npy", "no such file; pass one with --input"),
        ("predict pets --input wide.npy", "expected shape (rows, 4), received (3, 5)"),
        ("predict two --input x.csv", "expected 6 columns, received 4; missing: 'x_0'"),
        ("predict pets --input x.xlsx", "save it as CSV or Parquet"),
        ("predict pets --input x.npy --output y.txt", "ends in .parquet, .csv, .npz, received 'y.txt'"),
        ("predict pets --input x.npy --output no/y.csv", "there is no folder no"),
        ("predict pets --input x.npy --coverage 1", "between 0 and 1"),
        ("predict pets --input x.npy --coverage 0.9", "not calibrated"),
        ("predict pets --input x.npy --seed 3", "add --n-samples"),
        ("predict pets --input x.npy --seed 1", "add --n-samples"),
        ("predict pets --input x.npy --n-samples 9 --tolerance 0", "above 0, received 0"),
        ("predict pets --input x.npy --n-samples 9 --sampling sobol", "'--sampling'"),
        ("predict pets --input x.npy --n-samples 1", "'--n-samples'"),
        ("predict pets --input x.npy --n-samples many", "'--n-samples'"),
        ("predict pets --input x.npy --n-samples 9 --seed -1", "'--seed'"),
        ("predict still --input x.npy --n-samples 9", "variance over passes would be 0; leave out --n-samples"),
        ("serve nope", "no model 'nope'"),
        ("serve pets --port 0", "'--port'"),
        ("serve pets --workers 0", "'--workers'"),
        ("serve pets --host no.such.host.invalid", "cannot listen on no.such.host.invalid:3000"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    thinned: Thinned, folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.chdir(folder)
    done = thinned(*line.split())
    assert said in done.err
    assert done.err.startswith("thinned: ")
    assert done.err.count("\n") == 1
    assert done.status == 2
    assert done.out == ""


@pytest.mark.usefixtures("empty")
def test_an_empty_store_says_how_to_fill_it(thinned: Thinned) -> None:
    assert "thinned train digits" in thinned("models").out
    assert thinned("models", "--json").out == "[]\n"
    assert "the store is empty: run `thinned train digits`" in thinned("show", "digits").err


@pytest.mark.usefixtures("store")
def test_models_lists_them_all(thinned: Thinned) -> None:
    out = thinned("models").out
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert [line[0] for line in lines[2:]] == ["ill", "pets", "still", "two", "value"]
    cards = json.loads(thinned("models", "--json").out)
    assert {card["name"] for card in cards} == {"ill", "pets", "still", "two", "value"}
    assert all(card["version"] in out for card in cards)


@pytest.mark.usefixtures("store")
def test_show_tells_the_card(thinned: Thinned) -> None:
    out = thinned("show", "pets").out
    card = json.loads(thinned("show", "pets", "--json").out)
    for part in ("cat, dog, eel", card["sha256"], "Dropout", "0.5", "probabilities", "1 layer runs once a request"):
        assert part in out
    assert card["sites"][0]["kind"] == "Dropout"
    assert "variance would be 0" in thinned("show", "still").out


@pytest.mark.usefixtures("store")
def test_predict_answers_as_the_engine_does(thinned: Thinned, folder: Path) -> None:
    stored = model_store.find("pets")
    done = thinned("predict", "pets", "--input", folder / "x.npy", "--json")
    answer = json.loads(done.out)
    assert (done.status, done.err) == (0, "")
    assert answer["model"] == {"name": "pets", "version": stored.version}
    np.testing.assert_array_equal(answer["outputs"], Engine(stored).model.predict({"x": X})["kind"])
    table = thinned("predict", "pets", "--input", folder / "x.csv").out
    for row, probs in enumerate(np.asarray(answer["outputs"])):
        assert f" {row}     {('cat', 'dog', 'eel')[probs.argmax()]} " in table
        assert f"{probs.max():.4g}" in table


@pytest.mark.usefixtures("store")
def test_a_tolerance_stops_where_the_fixed_answer_is_the_same(thinned: Thinned, folder: Path) -> None:
    ask = ("predict", "pets", "--input", folder / "x.npy", "--seed", 3, "--sampling", "independent", "--json")
    adaptive = json.loads(thinned(*ask, "--n-samples", 5000, "--tolerance", 0.02).out)
    assert 128 <= adaptive["n_samples"] < 5000
    assert all(adaptive.pop("converged"))
    alone = json.loads(thinned(*ask, "--tolerance", 0.02).out)
    assert (alone["n_samples"], alone["stopped_by"]) == (adaptive["n_samples"], "tolerance")
    fixed = json.loads(thinned(*ask, "--n-samples", adaptive["n_samples"]).out)
    np.testing.assert_allclose(adaptive["mean"], fixed["mean"], rtol=1e-5)
    np.testing.assert_allclose(adaptive["standard_error"], fixed["standard_error"], rtol=1e-5)


@pytest.mark.usefixtures("store")
def test_passes_repeat_with_their_seed(thinned: Thinned, folder: Path) -> None:
    ask = ("predict", "pets", "--input", folder / "x.npy", "--n-samples", 20)
    first, again, other = (json.loads(thinned(*ask, "--seed", s, "--json").out) for s in (7, 7, 8))
    assert first == again
    assert first["mean"] != other["mean"]
    assert (first["n_samples"], first["seed"]) == (20, 7)
    assert np.min(first["variance"]) > 0
    assert {"predictive_entropy", "expected_entropy", "mutual_information", "standard_error"} <= first.keys()
    table = thinned(*ask, "--seed", 7).out
    assert "20 passes, seed 7" in table
    assert f"{max(first['mean'][0]):.4g}" in table
    assert f"{first['mutual_information'][0]:.4g}" in table


@pytest.mark.usefixtures("store")
def test_a_seed_is_drawn_and_told(thinned: Thinned, folder: Path) -> None:
    ask = ("predict", "value", "--input", folder / "x.npy", "--n-samples", 5, "--estimator", "passes")
    first = thinned(*ask).out
    seed = first.split("seed ")[1].split()[0]
    assert thinned(*ask, "--seed", seed).out == first
    assert f"seed {seed} " not in thinned(*ask).out
    exact = thinned(*ask[:-2])
    assert "Exact: no pass was drawn" in exact.out


@pytest.mark.usefixtures("store")
def test_several_inputs_and_outputs(thinned: Thinned, folder: Path) -> None:
    ask = ("predict", "two", "--input", folder / "two.npz")
    answer = json.loads(thinned(*ask, "--json").out)
    assert {name: np.shape(values) for name, values in answer["outputs"].items()} == {"size": (3, 1), "kind": (3, 2)}
    for more in ((), ("--n-samples", 4)):
        out = thinned(*ask, *more).out
        assert "size" in out
        assert "kind" in out
        assert "class " in out


@pytest.mark.usefixtures("store")
def test_a_single_unit_is_read_as_two_classes(thinned: Thinned, folder: Path) -> None:
    ask = ("predict", "ill", "--input", folder / "x.npy")
    probs = np.ravel(json.loads(thinned(*ask, "--json").out)["outputs"])
    lines = [line.split() for line in thinned(*ask).out.splitlines() if line[:2].strip().isdecimal() or "ell" in line]
    assert [line[1] for line in lines if line[0].isdecimal()] == ["ill" if p > 0.5 else "well" for p in probs]
    assert "well" in thinned(*ask, "--n-samples", 4).out + "".join(map(str, lines))


@pytest.mark.usefixtures("store")
def test_many_rows_are_cut_short_in_a_table_and_whole_in_json(thinned: Thinned, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.zeros((50, 4), "float32"))
    ask = ("predict", "value", "--input", tmp_path / "many.npy")
    assert "The first 20 of 50 rows; pass --json" in thinned(*ask).out
    assert len(json.loads(thinned(*ask, "--json").out)["outputs"]) == 50


def test_delete_asks_first(thinned: Thinned, empty: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for note in ("first", "second"):
        thinned("import", folder / "value.keras", "--task", "regression", "--name", "doomed", "--note", note)
    first, second = model_store.tags("doomed")
    done = thinned("delete", "doomed")
    assert done.status == 2
    assert f"this would delete {first}, {second}, and there is no terminal to ask on; pass --yes" in done.err
    assert model_store.tags("doomed") == [first, second]

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for said, status in ((False, 1), (True, 0)):
        monkeypatch.setattr("typer.confirm", lambda text, abort, said=said: said or _abort())
        assert thinned("delete", second).status == status
    assert model_store.tags("doomed") == [first]
    assert thinned("delete", "doomed", "--yes").out == f"Deleted {first}\n"
    assert list(empty.iterdir()) == []


def test_versions_are_named_moved_and_taken_back(thinned: Thinned, empty: Path, folder: Path) -> None:
    ask = ("import", folder / "value.keras", "--task", "regression", "--name", "moved")
    thinned(*ask, "--note", "the first")
    first = model_store.find("moved")
    again = thinned(*ask, "--note", "the first")
    assert again.out == (
        f"The same file with the same options is {first.tag} already, which is the latest version of moved. "
        "Nothing was stored.\n"
    )
    refused = thinned("import", folder / "pets.keras", "--task", "classification", "--name", "moved")
    assert refused.status == 2
    assert refused.err.startswith(f"thinned: this model would take the place of {first.tag}")
    assert "--replace" in refused.err
    asked_about = thinned("import", folder / "pets.keras", "--task", "regression", "--name", "asked")
    assert "--scale kind=values" in asked_about.err
    assert thinned("alias", "moved", "live").out == f"moved@live is {first.tag} now\n"
    thinned("import", folder / "pets.keras", "--task", "classification", "--name", "moved", "--replace")
    second = model_store.find("moved")
    assert json.loads(thinned("show", "moved@live", "--json").out)["version"] == first.version
    for name in ("moved@live", first.tag):
        assert ModelManager(Settings(model=name)).stored == first  # as THINNED_MODEL names it
    asked = json.loads(thinned("predict", "moved@live", "--input", folder / "x.npy", "--json").out)
    assert asked["model"]["version"] == first.version
    assert "It is moved@live" in thinned("show", first.tag).out
    listed = thinned("models").out
    assert re.search(rf"moved +{first.version} +@live .*the first", listed)
    assert re.search(rf"moved +{second.version} +latest ", listed)
    back = thinned("rollback", "moved").out
    assert back.startswith(f"moved is {first.tag} now, made ")
    assert f"moved:{second.version} stays in the store" in back
    assert "there is none before it" in thinned("rollback", "moved").err
    assert (
        thinned("alias", second.tag, "live").out == f"moved@live is {second.tag} now (before: moved:{first.version})\n"
    )
    assert "is moved@live" in thinned("delete", second.tag, "--yes").err
    (second.path / "model.keras").write_bytes(b"broken")
    damaged = thinned("models").out
    assert re.search(rf"{second.version} +@live, DAMAGED", damaged)
    assert f"Damaged: model.keras of {second.tag} is not the file that was imported" in damaged
    assert f"pointed to moved:{second.version}" in thinned("alias", "moved", "live", "--remove").out
    assert thinned("delete", second.tag, "--yes").status == 0


def _abort() -> bool:
    import typer

    raise typer.Abort


@pytest.mark.usefixtures("store")
def test_serve_says_where_and_becomes_bentoml(thinned: Thinned, monkeypatch: pytest.MonkeyPatch) -> None:
    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        started.append((arguments, environment))
        raise SystemExit(0)

    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", execve)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        taken = thinned("serve", "pets", "--port", port)
    assert taken.status == 2
    assert f"cannot listen on 127.0.0.1:{port}" in taken.err
    assert "pass another with --port" in taken.err
    assert started == []
    monkeypatch.setenv("THINNED_MODEL", "")
    monkeypatch.setenv("THINNED_WORKERS", "")
    done = thinned("serve", "pets", "--port", port, "--workers", 2)
    ((arguments, environment),) = started
    tag = model_store.find("pets").tag
    assert f"Serving {tag} on http://127.0.0.1:{port}" in done.out
    assert environment["THINNED_MODEL"] == "pets"  # so that it can follow the newest version when it is told
    assert environment["THINNED_WORKERS"] == "2"
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert arguments[:5] == [sys.executable, "-m", "bentoml", "serve", "thinned.service.app:UncertaintyService"]
    for option, value in (("--port", str(port)), ("--host", "127.0.0.1")):
        assert arguments[arguments.index(option) + 1] == value


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["pets", "two"])
def test_the_curl_sends_what_the_model_takes(name: str) -> None:
    import shlex

    from thinned.service.schema.request_body import parse
    from thinned.service.schema.request_fields import read_predict, read_predict_mc
    from thinned.service.settings import Settings

    card = model_store.find(name).card
    plain, mc = (shlex.split(line) for line in cli_serve.curl(card, "http://here").split("\n\n"))
    assert "content-type: application/json" in plain
    read_predict(parse(plain[-1].encode()), card, Settings())
    assert read_predict_mc(parse(mc[-1].encode()), card, Settings()).n_samples == 50


@pytest.mark.usefixtures("store")
def test_the_curl_of_a_model_without_noise_asks_for_no_passes() -> None:
    from thinned.models.card import InputSpec

    card = model_store.find("still").card
    large = card.model_copy(update={"inputs": (InputSpec(name="x", shape=(900,), dtype="float32"),)})
    for text in (cli_serve.curl(card, "http://here"), cli_serve.curl(large, "http://here")):
        assert "http://here/predict -" in text
        assert "predict_mc" not in text
        assert "n_samples" not in text


def test_the_curl_of_a_large_model_makes_its_rows(tmp_path: Path, store: Path) -> None:
    from thinned.models.card import InputSpec

    spec = InputSpec(name="image", shape=(96, 96, 3), dtype="float32")
    text = cli_serve.curl(model_store.find("pets").card.model_copy(update={"inputs": (spec,)}), "http://here")
    assert len(text) < 500
    command = text.split("\\\n")[0].replace("python", sys.executable, 1)
    body = subprocess.run(command, shell=True, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert np.shape(json.loads(body)["inputs"]["image"]) == (1, 96, 96, 3)


def test_settings_are_shown_checked(thinned: Thinned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THINNED_MODEL", raising=False)
    monkeypatch.setenv("THINNED_MAX_ROWS", "64")
    done = thinned("serve", "--show-settings")
    assert done.status == 0
    assert ["THINNED_MAX_ROWS", "64"] in [line.split()[:2] for line in done.out.splitlines()]
    monkeypatch.setenv("THINNED_MAX_ROWS", "none")
    done = thinned("serve", "--show-settings")
    assert done.status == 2
    assert "THINNED_MAX_ROWS" in done.err


def test_what_needs_no_tensorflow_does_not_wait_for_it() -> None:
    """Importing TensorFlow takes seconds: a list and a help text must not."""
    code = (
        "import sys\nfrom thinned.service.cli import main as cli\n"
        "for line in (['--help'], ['import', '--help'], ['models'], ['show', 'no']):\n"
        "    try:\n        cli.main(line)\n    except SystemExit:\n        pass\n"
        "print('LOADED', [name for name in ('tensorflow', 'keras', 'sklearn') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_a_home_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_cli("models", env={"BENTOML_HOME": str(tmp_path / "file")}, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("thinned: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m thinned.service.cli.main models --json | head -c 1"
    env = {**os.environ, "BENTOML_HOME": str(home)}
    done = subprocess.run(command, shell=True, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[", "")


@pytest.mark.usefixtures("digits")
def test_the_whole_way_with_digits(thinned: Thinned, tmp_path: Path) -> None:
    from thinned.models.examples.digits import data

    np.save(tmp_path / "images.npy", data().x_test[:4])
    out = thinned("predict", "digits", "--input", tmp_path / "images.npy", "--n-samples", 50, "--seed", 7).out
    labels = [line.split()[1] for line in out.splitlines() if line.strip() and line.split()[0] in "0123"][:4]
    assert labels == [str(digit) for digit in data().y_test[:4]]
    assert "runs once" in (shown := thinned("show", "digits").out) or "run once" in shown
    assert "accuracy" in shown
