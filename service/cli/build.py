"""`thinned build`: the service and models as a bento, which serves these."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinned import HOME
from thinned.models.errors import UsageError
from thinned.service.cli.completion import stored_names
from thinned.service.settings import variable

if TYPE_CHECKING:
    from thinned.models.storage.model_store import StoredModel

__all__ = ["register"]

HELP = """Pack the service and one or more models into a bento.

The bento serves the versions that it was built with, whatever else is in the store; THINNED_MODEL says otherwise at run
time. Several models are named as for `thinned serve`. `bentoml serve` starts the bento, `bentoml containerize` makes an
image of it.

\b
Example:
  thinned build house
  bentoml serve thinned-house:latest
  thinned build house tides house-2@shadow
"""


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("build", help=HELP)(_build)


def _build(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="The models, the first by default, each NAME, NAME:VERSION or NAME@ALIAS; NAME@shadow for one that "
            "answers unseen. `thinned models` lists them.",
            autocompletion=stored_names,
        ),
    ],
) -> None:
    from thinned.models.storage.model_store import find
    from thinned.models.storage.stored_model import verify_files
    from thinned.service.cli.output import progress_line
    from thinned.service.inference.catalogue import check_shadows
    from thinned.service.references import SHADOW, read_references

    try:
        references = read_references(" ".join(names))
    except ValueError as error:
        raise UsageError(f"{error}") from None
    found = [find(reference.text) for reference in references]
    check_shadows(references, found)
    for stored in found:
        verify_files(stored)
    served = " ".join(
        stored.tag + SHADOW * (reference.shadow_of is not None)
        for reference, stored in zip(references, found, strict=True)
    )
    with tempfile.TemporaryDirectory(prefix="thinned-build-") as folder, progress_line(f"Packing {served}"):
        file = Path(folder, "bentofile.yaml")
        file.write_text(json.dumps(_recipe(found, served)), encoding="utf-8")  # JSON is YAML too.
        command = [sys.executable, "-m", "bentoml", "build", str(HOME), "--bentofile", str(file), "--output", "tag"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HOME)
    built = done.stdout.rpartition("__tag__:")[2].strip()
    if done.returncode or not built:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise UsageError(f"BentoML could not build it: {said[-1] if said else f'exit status {done.returncode}'}")
    typer.echo(f"Built {built}, which serves {served}. Next: bentoml serve {built}")
    for package in dict.fromkeys(stored.card.package for stored in found if stored.card.package is not None):
        typer.echo(
            f"Layers come from the installed package {package}: install it wherever the bento is served; it is not "
            "packed."
        )


def _recipe(found: Sequence[StoredModel], served: str) -> dict[str, Any]:
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
        }
    several = {"envs": [{"name": variable("model"), "value": served}]} if len(found) > 1 else {}
    tags = list(dict.fromkeys(stored.tag for stored in found))
    return {**recipe, "name": f"thinned-{found[0].card.name}", "models": tags, **several}
