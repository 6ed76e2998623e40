"""A user's module is found by name or path, run alone and once, and its classes are its model's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from thinned.models.errors import ModelFileError
from thinned.models.storage.custom_layers import custom_objects, find_module, import_package, run_module


def test_it_is_found_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep" / "in").mkdir(parents=True)
    (tmp_path / "deep" / "__init__.py").touch()
    (tmp_path / "deep" / "in" / "__init__.py").touch()
    for place in ("mine_1.py", "deep/in/mine_2.py"):
        (tmp_path / place).touch()
    assert find_module(str(tmp_path / "mine_1.py")) == tmp_path / "mine_1.py"
    assert find_module("deep.in.mine_2", folder=tmp_path) == tmp_path / "deep/in/mine_2.py"
    monkeypatch.chdir(tmp_path)
    assert find_module("mine_1") == tmp_path / "mine_1.py"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("none.py", "no such file"),
        ("some/where", "no such file"),
        ("no_such_module", "no module of that name.*pip install no-such-module"),
        ("math", "one .py file"),
    ],
)
def test_what_is_not_one_is_refused(module: str, reason: str) -> None:
    with pytest.raises(ModelFileError, match=reason):
        find_module(module)


def test_an_installed_package_is_named_and_one_of_the_working_directory_refused(tmp_path: Path) -> None:
    assert find_module("numpy.linalg") == "numpy.linalg"
    assert import_package("numpy.linalg").norm([3.0, 4.0]) == 5.0
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "__init__.py").write_text("")
    with pytest.raises(ModelFileError, match="package in the working directory"):
        find_module("ours", folder=tmp_path)
    with pytest.raises(ModelFileError, match="pip install no-such-package"):
        import_package("no_such_package")


def test_it_runs_once_for_each_content(tmp_path: Path) -> None:
    path = tmp_path / "counted.py"
    log = tmp_path / "log"
    path.write_text(f"with open({str(log)!r}, 'a') as file:\n    file.write('x')\n")
    assert run_module(path) is run_module(path)
    assert log.read_text() == "x"
    path.write_text(path.read_text() + "y = 1\n")
    assert run_module(path).y == 1
    assert log.read_text() == "xx"


def test_two_modules_of_one_name_keep_their_classes(tmp_path: Path) -> None:
    text = "import keras\n@keras.saving.register_keras_serializable('p')\nclass A(keras.layers.Layer):\n    n = {}\n"
    found = []
    for n in (1, 2):
        path = tmp_path / str(n) / "same.py"
        path.parent.mkdir()
        path.write_text(text.format(n))
        found.append(custom_objects(run_module(path)))
    assert [objects["p>A"].n for objects in found] == [1, 2]
    assert [objects["A"].n for objects in found] == [1, 2]


def test_only_its_own_classes_count(layers_py: Path) -> None:
    assert custom_objects(run_module(layers_py)).keys() == {"Twice", "mine>Twice", "Plain", "bent", "mine>bent"}


def test_one_that_fails_is_named_and_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import not_there_at_all\n")
    before = set(sys.modules)
    with pytest.raises(ModelFileError, match=r"broken\.py: running the module failed with ModuleNotFoundError"):
        run_module(path)
    assert set(sys.modules) - before == set()


def test_one_that_ends_the_process_does_not(tmp_path: Path) -> None:
    path = tmp_path / "leaving.py"
    path.write_text("raise SystemExit(0)\n")
    with pytest.raises(ModelFileError, match="failed with SystemExit"):
        run_module(path)


def test_it_is_compiled_as_it_is_written(tmp_path: Path) -> None:
    """Annotations are values, as they are for Python itself, unless the module says otherwise."""
    path = tmp_path / "annotated.py"
    path.write_text("x: int = 1\n")
    assert run_module(path).__annotations__ == {"x": int}
