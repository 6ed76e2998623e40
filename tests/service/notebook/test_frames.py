"""DataFrames in and out: columns by name, the index kept, the columns those of `thinned predict --output`."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.notebook.conftest import Load
from tests.service.notebook.test_loaded_model import INPUTS, X
from thinned import LoadedModel
from thinned.models.card import InputSpec
from thinned.models.errors import InputError
from thinned.service.cli.predict import predict_file
from thinned.service.notebook.given_rows import arrays_of

pandas = pytest.importorskip("pandas")


FRAME: dict[str, Any] = {"year": [3.0, 4, 5], "zone": ["a", "b", "é"], "area": [1, 2, 3]}
SPECS = (
    InputSpec(name="place", shape=(2,), dtype="float32", columns=("area", "year")),
    InputSpec(name="zone", shape=(), dtype="string"),
)


@pytest.fixture(scope="module")
def named(loaded: Load) -> LoadedModel:
    """A model whose three numbers have names."""
    model = copy.copy(loaded("classes"))
    (spec,) = model.card.inputs
    model.card = model.card.model_copy(update={"inputs": (spec.model_copy(update={"columns": ("a", "b", "c")}),)})
    return model


def test_columns_are_found_by_name_and_the_index_is_kept(named: LoadedModel) -> None:
    index = pandas.Index(["p", "q", "p", "r", "s"], name="house")
    frame = pandas.DataFrame(X[:, ::-1], columns=["c", "b", "a"], index=index)
    said, answer = named.predict(frame, n_samples=16, seed=1), named.predict(X, n_samples=16, seed=1)
    assert said.index.equals(index)
    assert list(said.columns[:4]) == [f"mean_{i}" for i in range(4)]
    np.testing.assert_array_equal(said.iloc[:, :4].to_numpy(), answer["mean"])
    passes = named.sample(frame, n_samples=4, seed=1)
    assert passes.index.names == ["pass", "house"]
    assert list(passes.index[3:7]) == [(0, "r"), (0, "s"), (1, "p"), (1, "q")]
    np.testing.assert_array_equal(passes.to_numpy(), named.sample(X, n_samples=4, seed=1).reshape(20, 4))
    assert "\n r " in repr(named.summary(frame, n_samples=4))
    frame.index = pandas.MultiIndex.from_product([["u"], range(5)])
    assert named.sample(frame, n_samples=2).index.nlevels == 3
    np.testing.assert_array_equal(
        named.predict(pandas.DataFrame(X)[[2, 1, 0]].set_axis(["c", "b", "a"], axis=1)), named.predict(frame)
    )


def test_columns_are_those_that_the_command_writes(loaded: Load, models: dict[str, str], tmp_path: Path) -> None:
    frame = pandas.DataFrame({"x": list(map(list, X)), "tokens": list(map(list, INPUTS["several"]["tokens"]))})
    said = loaded("several").predict(frame, n_samples=8, seed=3)
    path = tmp_path / "x.npz"
    np.savez(path, **INPUTS["several"])
    predict_file(models["several"], path, n_samples=8, seed=3, as_json=False, output=tmp_path / "y.csv")
    with (tmp_path / "y.csv").open() as file:
        written = {name: column for name, *column in zip(*csv.reader(file), strict=True)}
    assert list(said.columns) == list(written)
    for name, column in written.items():
        assert [str(value) for value in said[name].tolist()] == column
    told = loaded("several").predict(frame, n_samples=8, seed=3, quantiles=[0.1, 0.9])
    further = [name for name in told.columns if name not in said.columns]
    assert len(further) == 10
    low = loaded("several").predict(INPUTS["several"], n_samples=8, seed=3, quantiles=[0.1])["quantiles"]
    np.testing.assert_array_equal(told["kind.quantile_0.1_2"], low["kind"][0][:, 2])
    np.testing.assert_array_equal(told["amount.quantile_0.1"], low["amount"][0][:, 0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"year": None}, "expected 3 columns, received 2; missing: 'year'"),
        ({"Zone ": ["x"] * 3, "zone": None}, r"unknown: 'Zone ' \(is 'zone' meant\?\)"),
        ({"more": [1, 2, 3]}, "unknown: 'more'"),
        ({"area": [1, np.nan, 3]}, "the DataFrame: row 1, column 'area': .* received nothing"),
        ({"area": [1, "zwölf", 3]}, "row 1, column 'area': .* received the string 'zwölf'"),
        ({"area": pandas.to_datetime(["2020-01-01"] * 3)}, "column 'area': expected numbers or text, received dates"),
        ({"area": [1, np.inf, 3]}, "row 1, column 'area'"),
        ({"zone": [1, 2, 3]}, "row 0, column 'zone'"),
        ({"zone": ["a", None, "b"]}, "row 1, column 'zone': .* received nothing"),
    ],
)
def test_what_does_not_fit_is_told_by_row_and_column(change: dict[str, Any], said: str) -> None:
    frame = pandas.DataFrame({name: value for name, value in {**FRAME, **change}.items() if value is not None})
    with pytest.raises(InputError, match=said):
        arrays_of(frame, SPECS)


@pytest.mark.parametrize("dtype", ["Int64", "category", object, "float32", "int8", "bool"])
def test_columns_may_have_any_dtype_that_holds_numbers(dtype: Any) -> None:
    frame = pandas.DataFrame({**FRAME, "area": [1, 0, 1]}).astype({"area": dtype})
    if dtype == "bool":
        with pytest.raises(InputError, match="received true"):
            arrays_of(frame, SPECS)
        return
    found = arrays_of(frame, SPECS)
    np.testing.assert_array_equal(found["place"], [[1, 3], [0, 4], [1, 5]])
    assert found["zone"].tolist() == ["a", "b", "é"]


def test_frames_without_names_without_rows_and_with_a_name_twice(capsys: pytest.CaptureFixture[str]) -> None:
    lone = (InputSpec(name="x", shape=(3,), dtype="float32"),)
    np.testing.assert_array_equal(arrays_of(pandas.DataFrame(X), lone)["x"], X)
    with pytest.raises(InputError, match="expected at least one row, received none"):
        arrays_of(pandas.DataFrame(FRAME).head(0), SPECS)
    with pytest.raises(InputError, match="there twice: 'area'"):
        arrays_of(pandas.DataFrame([[1, 2, "a", 3]], columns=["area", "year", "zone", "area"]), SPECS)


def test_frames_of_others_are_refused_with_what_to_do() -> None:
    class Foreign:
        columns = ("area",)

    with pytest.raises(InputError, match=r"received .*Foreign; pass its to_pandas\(\)"):
        arrays_of(Foreign(), SPECS)
