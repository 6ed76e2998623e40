"""Option values of the command line become what the import takes, or one sentence that says what to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thinned.models.card import InputSpec
from thinned.models.errors import UsageError
from thinned.service.cli import options as cli_options


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["regression"], {None: "regression"}),
        (["a=regression", "b=classification"], {"a": "regression", "b": "classification"}),
        (["regression", "b=classification"], {None: "regression", "b": "classification"}),
    ],
)
def test_tasks(values: list[str], expected: dict[str | None, str]) -> None:
    assert cli_options.tasks(values) == expected


@pytest.mark.parametrize(
    "values", [["guess"], ["a="], ["=regression"], ["a=guess"], [""], ["regression", "regression"]]
)
def test_what_is_no_task_is_refused(values: list[str]) -> None:
    with pytest.raises(UsageError, match="--task"):
        cli_options.tasks(values)


def test_scales() -> None:
    assert cli_options.scales(["logits"]) == {None: "logits"}
    assert cli_options.scales(["a=probabilities"]) == {"a": "probabilities"}
    assert cli_options.scales(["a=values"]) == {"a": "values"}
    for wrong in ("numbers", "a=log", ""):
        with pytest.raises(UsageError, match="--scale expects probabilities, logits or values"):
            cli_options.scales([wrong])


def test_image_resize() -> None:
    assert cli_options.image_resize(["area"]) == {None: "area"}
    assert cli_options.image_resize(["a=bilinear-antialias", "b=none"]) == {"a": "bilinear-antialias"}
    for wrong in (["lanczos"], ["a="], [""], ["Bilinear"], ["area", "area"]):
        with pytest.raises(UsageError, match="--image-resize"):
            cli_options.image_resize(wrong)


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog, small\n\n  eel=1 \n", encoding="utf-8")
    assert cli_options.labels(["a, b,c"]) == {None: ("a", "b", "c")}
    assert cli_options.labels(["kind=a,b", "sex=f,m"]) == {"kind": ("a", "b"), "sex": ("f", "m")}
    assert cli_options.labels(["a,b=c"]) == {None: ("a", "b=c")}
    assert cli_options.labels([str(path)]) == {None: ("cat", "dog, small", "eel=1")}
    assert cli_options.labels([f"kind={path}"]) == {"kind": ("cat", "dog, small", "eel=1")}
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        cli_options.labels([str(path)])


@pytest.mark.parametrize(
    ("shapes", "dtypes", "expected"),
    [
        (["4"], [], [("input", (4,), "")]),
        (["32,32,3"], ["uint8"], [("input", (32, 32, 3), "uint8")]),
        (["(32, 32, 3)"], [], [("input", (32, 32, 3), "")]),
        (["32x32x3"], [], [("input", (32, 32, 3), "")]),
        (["(4,)"], [], [("input", (4,), "")]),
        (["?,8"], [], [("input", (None, 8), "")]),
        (["none"], ["int32"], [("input", (None,), "int32")]),
        (["1"], ["string"], [("input", (1,), "string")]),
        ([""], [], [("input", (), "")]),
        (["a=4", "b=3,3"], ["b=int64"], [("a", (4,), ""), ("b", (3, 3), "int64")]),
        (["a=4", "b=3"], ["bfloat16"], [("a", (4,), "bfloat16"), ("b", (3,), "bfloat16")]),
    ],
)
def test_input_specs(shapes: list[str], dtypes: list[str], expected: list[Any]) -> None:
    specs = tuple(InputSpec(name=name, shape=shape, dtype=dtype) for name, shape, dtype in expected)
    assert cli_options.input_specs(shapes, dtypes) == specs


def test_no_shape_is_no_input() -> None:
    assert cli_options.input_specs([], []) is None


@pytest.mark.parametrize(
    ("shapes", "dtypes", "reason"),
    [
        (["4,x"], [], "--input-shape expects the lengths"),
        (["4,,5"], [], "--input-shape expects the lengths"),
        (["0"], [], "--input-shape expects the lengths"),
        (["-1,3"], [], "--input-shape expects the lengths"),
        (["²"], [], "--input-shape expects the lengths"),
        (["4", "5"], [], "twice"),
        (["4", "b=5"], [], "name the input of each"),
        (["4"], ["float33"], "--input-dtype expects a dtype"),
        (["4"], ["str"], "--input-dtype expects a dtype"),
        (["4"], ["object"], "--input-dtype expects a dtype"),
        ([], ["int32"], "needs an --input-shape"),
        (["a=4"], ["b=int32"], "needs an --input-shape"),
    ],
)
def test_what_is_no_input_is_refused(shapes: list[str], dtypes: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        cli_options.input_specs(shapes, dtypes)
