"""The machine, the versions and the date of this run, in words: what every published figure states beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from thinned._version import __version__

__all__ = ["accelerators", "date", "machine", "versions"]

_GPUS = Path("/proc/driver/nvidia/gpus")


def machine() -> str:
    """Processor, cores and memory."""
    return f"{_processor()}, {os.cpu_count()} cores, {_memory_gib()} GiB"


def accelerators() -> str:
    """The GPUs that programs of this process may use, as the driver names them."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    names = [] if hidden else [name for path in sorted(_GPUS.glob("*/information")) if (name := _model(path))]
    return f"GPU: {', '.join(names)}" if names else "no accelerator used"


def _model(information: Path) -> str:
    text = information.read_text(encoding="utf-8", errors="replace")
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Model:")), "")


def versions(packages: Sequence[str]) -> str:
    """Those of Python, of packages that are installed, and of Thinned."""
    found = [f"{name} {version}" for name in packages if (version := _version_of(name)) is not None]
    return ", ".join([f"Python {platform.python_version()}", *found, f"thinned {__version__}"])


def date() -> str:
    """Today in UTC, 2026-11-25."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Name of the processor: from /proc/cpuinfo on Linux, else what `platform` knows."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
