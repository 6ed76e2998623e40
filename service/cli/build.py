"""`thinned build`: the service and one model as a bento, which serves that model."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from thinned import HOME
from thinned.models.errors import UsageError
from thinned.service.cli.options import StoredName

if TYPE_CHECKING:
    from thinned.models.storage.model_store import StoredModel

__all__ = ["register"]

HELP = """Pack the service and one model into a bento.

The bento serves the version that it was built with, whatever else is in the store; THINNED_MODEL says otherwise at run
time. `bentoml serve` starts it, `bentoml containerize` makes an image of it.

\b
Example:
  thinned build house
  bentoml serve thinned-house:latest
"""


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("build", help=HELP)(_build)


def _build(name: StoredName) -> None:
    from thinned.models.storage.model_store import find
    from thinned.models.storage.stored_model import verify_files
    from thinned.service.cli.output import progress_line

    stored = find(name)
    verify_files(stored)
    with tempfile.TemporaryDirectory(prefix="thinned-build-") as folder, progress_line(f"Packing {stored.tag}"):
        file = Path(folder, "bentofile.yaml")
        file.write_text(json.dumps(_recipe(stored)), encoding="utf-8")  # JSON is YAML too.
        command = [sys.executable, "-m", "bentoml", "build", str(HOME), "--bentofile", str(file), "--output", "tag"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HOME)
    built = done.stdout.rpartition("__tag__:")[2].strip()
    if done.returncode or not built:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise UsageError(f"BentoML could not build it: {said[-1] if said else f'exit status {done.returncode}'}")
    typer.echo(f"Built {built}, which serves {stored.tag}. Next: bentoml serve {built}")
    if stored.card.package is not None:
        typer.echo(
            f"The model's layers come from the installed package {stored.card.package}: install it wherever the bento "
            "is served; it is not packed."
        )


def _recipe(stored: StoredModel) -> dict[str, Any]:
    """How BentoML is to build it: as `bentofile.yaml` of a checkout says; else of the package that is installed."""
    import yaml

    own = HOME / "bentofile.yaml"
    recipe: dict[str, Any]
    if own.is_file():
        recipe = yaml.safe_load(own.read_text(encoding="utf-8"))
    else:
        needed = [text for text in importlib.metadata.requires("thinned") or () if "extra ==" not in text]
        recipe = {
            "service": "thinned.service.app:UncertaintyService",
            "include": ["thinned/**/*.py", "thinned/service/http/ui/*"],
            "python": {"packages": needed, "lock_packages": False},
            "docker": {"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
        }
    return {**recipe, "name": f"thinned-{stored.card.name}", "models": [stored.tag]}
