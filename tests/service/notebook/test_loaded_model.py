"""`thinned.load`: what it says is what the command and the service say, and what it refuses they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thinned
from tests.service.conftest import Served
from tests.service.notebook.conftest import Load
from thinned.models.errors import AnswerNotFiniteError, CalibrationError, InputError, ModelNotFoundError, NoSitesError
from thinned.service.cli.predict import predict_file

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
TOKENS = np.random.default_rng(1).integers(0, 10, (5, 4)).astype("int32")
INPUTS: dict[str, Any] = {"classes": X, "several": {"x": X, "tokens": TOKENS}, "words": TOKENS}


def in_lists(rows: Any) -> Any:
    return {name: in_lists(part) for name, part in rows.items()} if isinstance(rows, dict) else rows.tolist()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("classes", {}),
        ("classes", {"n_samples": 64, "seed": 1}),
        ("several", {"tolerance": 0.02, "seed": 3, "sampling": "independent", "estimator": "passes"}),
    ],
)
def test_it_says_what_the_command_and_the_service_say(
    name: str,
    options: dict[str, Any],
    loaded: Load,
    classes: Served,
    several: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = loaded(name).predict(INPUTS[name], **options).document
    path = tmp_path / "x.json"
    path.write_text(json.dumps(in_lists(INPUTS[name])))
    predict_file(name, path, as_json=True, **{"n_samples": None, "seed": None, **options})
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(said))
    field = "/predict_mc" if options else "/predict"
    answer = (
        {"classes": classes, "several": several}[name]
        .ask("POST", field, json={"inputs": in_lists(INPUTS[name]), **options})
        .json()
    )
    near(answer, json.loads(json.dumps(said)))


def near(one: Any, other: Any) -> None:
    """The same but for rounding: a service may compute some rows at a time."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name, part in one.items():
            near(part, other[name])
    elif isinstance(one, list) and one and not isinstance(one[0], str | dict):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    elif isinstance(one, float):
        assert one == pytest.approx(other)
    else:
        assert one == other


def test_sampled_passes_are_those_behind_the_answer(loaded: Load) -> None:
    model = loaded("classes")
    passes = model.sample(X, n_samples=40, seed=5)
    assert passes.shape == (40, 5, 4)
    answer = model.summary(X, n_samples=40, seed=5, estimator="passes", quantiles=[0.5])
    np.testing.assert_allclose(answer["mean"], passes.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(answer["variance"], passes.var(axis=0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(answer["quantiles"][0], np.median(passes, axis=0), atol=1e-6)
    np.testing.assert_allclose(model.sample(X[:2], n_samples=10, seed=5), passes[:10, :2], atol=1e-6)
    of_several = loaded("several").sample(INPUTS["several"], n_samples=3)
    assert {name: part.shape for name, part in of_several.items()} == {"kind": (3, 5, 4), "amount": (3, 5, 1)}


@pytest.mark.parametrize(
    "rows",
    [
        X.tolist(),
        list(X),
        tuple(map(tuple, X)),
        X.astype("float64"),
        X.astype(object),
        {"x": X},
        {"x": list(X)},
        [list(row) for row in X],
    ],
    ids=["lists", "list of arrays", "tuples", "float64", "objects", "mapping", "mapping of lists", "NumPy numbers"],
)
def test_rows_may_come_in_any_form(rows: Any, loaded: Load) -> None:
    model = loaded("classes")
    np.testing.assert_allclose(model.predict(rows)["outputs"], model.predict(X)["outputs"], atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (X[0], {}, "send a single row as a list of one row"),
        ([], {}, "expected at least one row"),
        (None, {}, "received null"),
        ("rows.csv", {}, "expected a list of rows, received the string 'rows.csv'"),
        (X[:, :2], {}, r"received \(5, 2\)"),
        (np.full((1, 3), np.nan), {"n_samples": 4}, "expected a finite float32 number, received NaN"),
        ({"y": X}, {}, "unknown input; expected 'x'"),
        ([[1, 2, "é" * 10_000]], {}, "inputs.0.2: expected a finite float32 number, received the string"),
        ([[1, 2, object()]], {}, "received a value of type object"),
        (X, {"n_samples": 1}, "n_samples: expected an integer from 2 to 1000000000, received 1"),
        (X, {"n_samples": True}, "n_samples: expected an integer"),
        (X, {"n_samples": 2.5}, "received 2.5"),
        (X, {"n_samples": 8, "seed": -1}, "seed: expected an integer from 0"),
        (X, {"n_samples": 8, "sampling": "none"}, "expected stratified or independent"),
        (X, {"tolerance": np.inf}, "tolerance: expected a number above 0"),
        (X, {"quantiles": [0.1, 1.5]}, "quantiles.1: expected a number between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(rows: Any, options: Any, said: str, loaded: Load) -> None:
    with pytest.raises(InputError, match=said) as refused:
        loaded("classes").predict(rows, **options)
    assert len(str(refused.value)) < 2000


def test_numbers_of_numpy_are_numbers(loaded: Load) -> None:
    options = {"n_samples": np.int64(8), "seed": np.uint32(3), "quantiles": np.array([0.25, 0.75])}
    answer = loaded("classes").predict(X, **options)
    assert (answer["n_samples"], answer["seed"], answer["quantiles"].shape) == (8, 3, (2, 5, 4))


def test_the_services_limits_do_not_bind_python(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINNED_MAX_ROWS", "2")
    monkeypatch.setenv("THINNED_MAX_SAMPLES", "160")
    model = loaded("classes")
    assert model.predict(X, n_samples=200, seed=0)["n_samples"] == 200
    # ... but where a tolerance alone says how many there may be, as it does for `thinned predict`.
    unmet = model.predict(X, tolerance=1e-9)
    assert (unmet["n_samples"], unmet["stopped_by"]) == (160, "limit")


def test_errors_are_those_of_the_tree(loaded: Load) -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'nope'"):
        thinned.load("nope")
    with pytest.raises(InputError, match="expected the name of a stored model, received int"):
        thinned.load(7)  # type: ignore[arg-type]
    for ask in (loaded("fixed").sample, loaded("fixed").summary, loaded("fixed").plot):
        with pytest.raises(NoSitesError):
            ask(X)
    with pytest.raises(CalibrationError, match="thinned calibrate"):
        loaded("classes").predict(X, coverage=0.9)
    with pytest.raises(CalibrationError):
        loaded("classes").predict(X, ood=True)
    with pytest.raises(AnswerNotFiniteError, match=r"rows \[1\]"):
        loaded("wild").predict([[0, 0, 0], [1000, 0, 0]])
    with pytest.raises(TypeError, match="n_sample"):
        loaded("classes").predict(X, n_sample=3)  # type: ignore[call-overload]
