"""The machine, versions, date and command of this run, which every published figure states beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from thinned._version import __version__

__all__ = ["describe_run"]

_LIBRARIES = ("tensorflow", "keras", "bentoml", "numpy", "locust")


def describe_run() -> dict[str, str]:
    """`machine`, `versions`, `date` and `command` of this process, in words."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib()} GiB, no accelerator used",
        "versions": f"Python {platform.python_version()}, {versions}, thinned {__version__}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
    }


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return Path(sys.argv[0]).name if spec is None else spec.name.removesuffix(".__main__")


def _processor() -> str:
    """Name of the processor: from /proc/cpuinfo on Linux, else what `platform` knows."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
