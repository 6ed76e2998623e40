"""An environment for each rival: a venv with its framework, which sees the TensorFlow and Keras of ours.

The framework and what it needs come first on its path. What is installed in our environment, TensorFlow, Keras and
NumPy above all, comes after that, so that all rivals run the network by the same code as Thinned does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from thinned import HOME
from thinned.loadtest.benchmarks.rivals.contenders import Rival

__all__ = ["ENVIRONMENTS", "CannotInstallError", "environment_of"]

ENVIRONMENTS = HOME / ".rivals"
INSTALL_WITHIN_S = 400
_STAMP = ".made"
_PIP = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20")
_LAST = 300


class CannotInstallError(RuntimeError):
    """A rival's environment could not be made; the message says why, in one line."""


def environment_of(name: str, rival: Rival, *, folder: Path | None = None) -> Path:
    """The Python of a rival's environment, which is made if it is not there or has other packages.

    Args:
        name: Of the rival; its environment is the folder of this name.
        rival: Its packages, and the module that must be importable together with Keras.
        folder: Where environments are; `ENVIRONMENTS` by default.

    Raises:
        CannotInstallError: It could not be made; nothing is left of it.
    """
    place = (folder or ENVIRONMENTS) / name
    python = place / "bin" / "python"
    wanted = "\n".join([sys.version, sysconfig.get_path("purelib"), *rival.packages])
    stamp = place / _STAMP
    if stamp.is_file() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    try:
        venv.create(place, with_pip=False, symlinks=True)
        _see_our_packages(python)
        _run([sys.executable, "-m", "pip", "--python", str(python), "install", *_PIP, *rival.packages])
        _run([str(python), "-c", f"import {rival.module}, keras"])
        stamp.write_text(wanted)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(place, ignore_errors=True)
        raise CannotInstallError(f"{' '.join(rival.packages)}: {_reason(error)}") from error
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return python


def _see_our_packages(python: Path) -> None:
    """Put the folder of our packages on the path of this Python, behind its own."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    there = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    (Path(there) / "thinned_environment.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=True)


def _reason(error: Exception) -> str:
    """The last words of what failed, in one line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {INSTALL_WITHIN_S} s"
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        said = [line for line in lines if "error" in line.lower()] or lines
        return said[-1][:_LAST] if said else f"exit status {error.returncode}"
    return str(error)[:_LAST]
