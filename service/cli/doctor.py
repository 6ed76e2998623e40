"""`thinned doctor`: whether this machine, its packages and the store are as serving needs them."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from thinned.models.errors import ThinnedError

__all__ = ["TESTED", "Check", "checks", "register"]

HELP = """Look for what would keep a model from being served.

Versions are compared with those that Thinned was tested with, and every file in the store with its digest. Exit status
1 where something is wrong.

\b
Example:
  thinned doctor --port 8080
"""
TESTED = {"tensorflow": "2.21", "keras": "3.15", "bentoml": "1.4.40"}
"""The versions, or their beginnings, that the tests run with: those that `pyproject.toml` asks for."""
PYTHONS = ((3, 11), (3, 13))
GIB = 1 << 30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, GIB


class Check(NamedTuple):
    """One thing that was looked at: what was found, and what to do where it is wrong."""

    what: str
    found: str
    remedy: str | None = None

    @property
    def wrong(self) -> bool:
        """Whether something is to be done."""
        return self.remedy is not None


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("doctor", help=HELP)(_doctor)


def _doctor(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port that is to be listened on.")] = 3000,
    host: Annotated[str, typer.Option(help="Address that is to be listened on.")] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    from thinned.service.cli.output import console, print_json, table

    found = list(checks(host, port))
    wrong = [check for check in found if check.wrong]
    if as_json:
        print_json([{**check._asdict(), "wrong": check.wrong} for check in found])
    else:
        table("", "what", "found", rows=[("WRONG" if c.wrong else "ok", c.what, c.found) for c in found])
        for check in wrong:
            console().print(f"{check.what}: {check.remedy}", markup=False, soft_wrap=True)
        if not wrong:
            typer.echo("Nothing is wrong.")
    if wrong:
        raise typer.Exit(1)


def checks(host: str, port: int) -> Iterator[Check]:
    """All that is looked at, in the order of reading."""
    yield _python()
    yield from (_package(name, tested) for name, tested in TESTED.items())
    yield from _machine()
    yield _settings()
    yield _port(host, port)
    yield from _store()


def _python() -> Check:
    version, (low, high) = sys.version_info[:2], PYTHONS
    found = ".".join(map(str, sys.version_info[:3]))
    fits = low <= version <= high
    supported = f"Python {low[0]}.{low[1]} to {high[0]}.{high[1]}"
    remedy = f"Thinned is tested with {supported}; make the environment with one of them"
    return Check("Python", found, None if fits else remedy)


def _package(name: str, tested: str) -> Check:
    wanted = f"pip install '{name}=={tested}{'.*' if tested.count('.') < 2 else ''}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "not installed", f"install it: {wanted}")
    fits = version == tested or version.startswith(f"{tested}.")
    remedy = f"Thinned is tested with {tested}, and relies on its inner workings: {wanted}"
    return Check(name, version, None if fits else remedy)


def _machine() -> Iterator[Check]:
    from thinned.models.storage.limits import free_bytes
    from thinned.service.inference.memory import machine_memory
    from thinned.service.inference.threads import threads_for

    whole, free = machine_memory(), free_bytes()
    found = _size(whole) if free is None else f"{_size(whole)}, {_size(free)} of it free"
    little = (whole if free is None else free) < LEAST_MEMORY
    yield Check("memory", found, "a worker needs about 1 GiB and the model; end what holds it" if little else None)
    yield Check("cores", str(threads_for(1)))


def _settings() -> Check:
    from thinned.service.settings import Settings

    try:
        settings = Settings.read()
    except ThinnedError as error:
        return Check("settings", "cannot be used", str(error))
    return Check("settings", f"in order; THINNED_MODEL is {settings.model}")


def _port(host: str, port: int) -> Check:
    from thinned.service.cli.serve import check_port

    try:
        check_port(host, port)
    except ThinnedError as error:
        return Check("port", f"{host}:{port} is not free", str(error))
    return Check("port", f"{host}:{port} is free")


def _store() -> Iterator[Check]:
    from thinned.models.storage.model_store import store_folder
    from thinned.models.storage.survey import survey
    from thinned.models.storage.temporary_folders import left_behind

    folder = store_folder()
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Check("store", f"{folder} cannot be written", "have BENTOML_HOME name a folder that you may write")
        return
    free = shutil.disk_usage(folder).free
    remedy = "free some of the disk, or have BENTOML_HOME name a folder on another" if free < LEAST_DISK else None
    yield Check("store", f"{folder}, {_size(free)} free", remedy)
    entries = survey()
    damaged = [entry for entry in entries if entry.damage is not None]
    yield Check(
        "models",
        f"{len(entries)} version{'' if len(entries) == 1 else 's'}, {len(damaged)} damaged",
        "; ".join(str(entry.damage) for entry in damaged) or None,
    )
    yield _staging(left_behind(folder.parent))


def _staging(stale: list[Path]) -> Check:
    if not stale:
        return Check("left by crashes", "nothing")
    names = " ".join(str(path) for path in stale)
    return Check(
        "left by crashes",
        f"{len(stale)} folder{'' if len(stale) == 1 else 's'}",
        f"the next import or delete sweeps them, or: rm -r {names}",
    )


def _size(size: int) -> str:
    from thinned.models.storage.limits import size_text

    return size_text(size)
