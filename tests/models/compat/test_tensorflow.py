"""TensorFlow starts without a word, and an import that fails is not hidden."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import thinned

ROOT = Path(thinned.__file__).resolve().parent.parent


def run(code: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tensorflow_starts_without_a_word_and_is_the_backend() -> None:
    done = run(
        "from thinned.models.compat.tensorflow import import_tensorflow\nimport_tensorflow()\n"
        "import os, keras\nprint(keras.backend.backend())\nos.write(2, b'after')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensorflow\n", "after")


def test_what_was_said_before_a_failure_is_shown() -> None:
    done = run(
        "import os, sys\nfrom thinned.models.compat.tensorflow import import_tensorflow\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'keras':\n"
        "            os.write(2, b'library is missing')\n"
        "            raise ImportError('no keras')\n"
        "sys.meta_path.insert(0, Broken())\nimport_tensorflow()"
    )
    assert done.returncode == 1
    assert "library is missing" in done.stderr
    assert "ImportError: no keras" in done.stderr


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("version", thinned.__version__) == thinned.__version__
