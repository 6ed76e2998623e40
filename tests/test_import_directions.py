"""Imports point down only: the floors of the house, read from the source without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A module stands on the floor of the longest prefix that names it. It may import its own floor and those below.
FLOORS = {
    "models": 0,
    "models.errors": 0,
    "models.card": 0,
    "models.uncertainty": 0,
    "models.dropout": 1,
    "models.registry": 1,
    "models.importing": 2,
    "models.calibration": 2,
    "models.evaluation": 2,
    "models.examples": 2,
    "service": 3,
    "service.engine": 2,
    "service.statistics": 2,
    "service.seeds": 2,
    "service.jobs": 2,
    "service.coalescer": 2,
    "service.cli": 4,
    "load": 5,
}

# What a package may import from outside the standard library, or never may. `models` knows nothing of HTTP.
ONLY = {"models.uncertainty": {"numpy", "models.uncertainty"}}
NEVER = {
    "models": (
        "service",
        "load",
        "starlette",
        "httpx",
        "uvicorn",
        "requests",
        "fastapi",
        "http",
        "bentoml._internal.server",
    ),
    "models.dropout": ("bentoml", "typer", "rich"),
    "models.card": ("tensorflow", "keras", "bentoml"),
    "models.errors": ("tensorflow", "keras", "bentoml"),
    "service": ("load",),
    "service.engine": ("starlette", "httpx", "uvicorn", "bentoml"),
    "service.jobs": ("starlette", "httpx", "uvicorn", "bentoml"),
    "service.coalescer": ("starlette", "httpx", "uvicorn", "bentoml"),
    # Locust replaces the standard library's sockets: what is imported with it would be changed too.
    "load": ("bentoml", "tensorflow", "keras", "service.app"),
}

# These run in processes of their own, without Locust.
WITHOUT_LOCUST = {"load.naive_service", "load.engine_bench", "load.sampling_bench", "load.rivals", "load.networks"}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for top in ("models", "service", "load"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module imports, wherever in it: in a function or for typing counts too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            # `from models import registry` imports a module; `from models.registry import find` a name in one.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def floor(name: str) -> int:
    return FLOORS[max((known for known in FLOORS if is_in(name, known)), key=len)]


def wrong(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with a module's imports: one sentence each."""
    problems = []
    for line, name in imports(source, module, is_package=is_package):
        where = f"{module}, line {line}, imports {name}"
        top = name.split(".")[0]
        if top in {"models", "service", "load"} and floor(name) > floor(module):
            problems.append(f"{where}: up from floor {floor(module)} to floor {floor(name)}")
        for package, banned in NEVER.items():
            if package == "load" and module in WITHOUT_LOCUST:
                continue
            if is_in(module, package):
                problems += [f"{where}: {package} may not import {b}" for b in banned if is_in(name, b)]
        for package, allowed in ONLY.items():
            standard = top in sys.stdlib_module_names
            if is_in(module, package) and not standard and not any(is_in(name, a) for a in allowed):
                problems.append(f"{where}: {package} may import only {', '.join(sorted(allowed))}")
    return problems


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    path = modules()[module]
    assert wrong(module, path.read_text(), is_package=path.name == "__init__.py") == []


def test_every_floor_named_here_stands() -> None:
    there = {name for module in modules() for name in prefixes(module)}
    assert set(FLOORS) - there == set()


def prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts) + 1))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("models.registry", "from service.engine import Engine"),
        ("models.registry", "def f():\n    import service"),
        ("models.dropout.sites", "from models import registry, examples"),
        ("models.dropout.sites", "from ..examples import digits"),
        ("models.card", "from models.dropout import arm"),
        ("models.uncertainty.moments", "import scipy.stats"),
        ("models.uncertainty.moments", "from models.errors import InputError"),
        ("models.registry", "from starlette.responses import Response"),
        ("service.engine", "from service.schemas import Prediction"),
        ("service.app", "from service.cli import main"),
        ("service.app", "import load.locustfile"),
        ("load.sweep", "import tensorflow as tf"),
    ],
)
def test_an_import_that_points_up_is_found(module: str, source: str) -> None:
    assert wrong(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("models.registry", "import bentoml\nfrom models.card import ModelCard"),
        ("models.uncertainty.moments", "import numpy as np\nfrom collections.abc import Iterator"),
        ("models.uncertainty.entropy", "from .moments import Moments"),
        ("service.app", "from service.engine import Engine\nfrom models.errors import InputError"),
        ("service.cli", "from models.examples import digits\nfrom service import settings"),
    ],
)
def test_an_import_that_points_down_is_not(module: str, source: str) -> None:
    assert wrong(module, source) == []
