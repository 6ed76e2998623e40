"""The machine, versions, date and command of this run, which every published figure states beside it."""

from __future__ import annotations

import sys
from pathlib import Path

from thinned.models.run_facts import accelerators, date, machine, versions

__all__ = ["describe_run"]

_LIBRARIES = ("tensorflow", "keras", "bentoml", "numpy", "locust")


def describe_run() -> dict[str, str]:
    """`machine`, `versions`, `date` and `command` of this process, in words."""
    return {
        "machine": f"{machine()}, {accelerators()}",
        "versions": versions(_LIBRARIES),
        "date": date(),
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
    }


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return Path(sys.argv[0]).name if spec is None else spec.name.removesuffix(".__main__")
