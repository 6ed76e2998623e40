"""What a shell is told when a model's name is begun, by the program that it would ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.cli.conftest import Put
from thinned.models.storage import model_store
from thinned.models.storage.pointers import set_alias
from thinned.service.cli.completion import stored_names


@pytest.fixture
def home(put: Put) -> Path:
    set_alias(put().card.name, "live")
    root = model_store.store_folder()
    (root / "anothers").mkdir()
    return root.parent


def completed(home: Path, words: str) -> list[str]:
    asked = {"_THINNED_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'thinned'; from thinned.service.cli.main import main; main()",
        ],
        env={**os.environ, **asked, "_TYPER_COMPLETE_ARGS": words, "BENTOML_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_is_told_the_names(home: Path) -> None:
    name = model_store.find_all()[0].card.name
    assert completed(home, f"thinned show {name[:2]}") == [name]


def test_versions_follow_a_colon_and_aliases_an_at(home: Path) -> None:
    stored = model_store.find_all()[0]
    name = stored.card.name
    assert stored_names("") == [name]
    assert stored_names("zzz") == []
    assert stored_names(f"{name}:") == [f"{name}:{stored.version}"]
    assert stored_names(f"{name}@l") == [f"{name}@live"]
