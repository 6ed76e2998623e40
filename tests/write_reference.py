"""`make reference`: writes docs/reference.md from the docstrings of the public names and from `--help`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

import typer

import thinned
from tests.serving import ROOT, run_cli
from thinned.service.cli.main import app

REFERENCE = ROOT / "docs" / "reference.md"
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|References):$", re.MULTILINE)
TITLES = {"Args": "Arguments", "References": "Source"}
METHODS = {
    "Answer": ("to_frame", "plot"),
    "LoadedModel": ("predict", "summary", "sample", "plot"),
    "Draw": ("drop", "bernoulli", "multiplied", "normal", "uniform", "fill", "identity"),
    "StochasticModel": ("predict", "sample", "summary"),
}
ITEM = re.compile(r"^(\w+): (.*)$", re.DOTALL)
HEAD = """# Reference

Made by `make reference` from docstrings and from `--help`; a test holds it to both. The fields of requests and answers
are in [API](api.md), which is held to the service's OpenAPI, and the settings in [Settings](settings.md).

What is named here is the public API; everything else may change between versions.
"""


def main() -> int:
    REFERENCE.write_text(reference())
    return 0


def reference() -> str:
    """The text of docs/reference.md."""
    parts = [HEAD, "## Python\n"]
    for name in sorted(thinned.__all__, key=str.lower):
        if not name.startswith("__"):
            parts.extend(described(f"thinned.{name}", getattr(thinned, name)))
    parts.append("## Commands\n")
    for name in sorted(typer.main.get_command(app).commands):  # type: ignore[attr-defined]
        shown = run_cli(name, "--help", env={"COLUMNS": "100"}).stdout
        parts.append(f"### thinned {name} --help\n\n```text\n{shown.strip()}\n```\n")
    return "\n".join(parts)


def described(name: str, value: Any) -> Iterator[str]:
    """A public name with its signature and docstring, and its public methods after it."""
    yield f"### {name}\n"
    call = "" if inspect.isclass(value) else signature(value)  # Those of classes are made by functions, or raised.
    yield (f"```text\n{name.rpartition('.')[2]}{call}\n```\n\n" if call else "") + markdown(inspect.getdoc(value) or "")
    if inspect.isclass(value):
        for method in METHODS.get(value.__name__, ()):
            yield from described(f"{name}.{method}", getattr(value, method))


def signature(value: Any) -> str:
    """As it is written, an argument a line; annotations are strings."""
    whole = inspect.signature(value)
    lines, keyword_only = [], False
    for parameter in whole.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            lines.append("*")
            keyword_only = True
        if parameter.name != "self":
            lines.append(str(parameter).replace("'", ""))
    arguments = "".join(f"\n    {line}," for line in lines)
    returned = "" if whole.return_annotation in (whole.empty, None, "None") else f" -> {whole.return_annotation}"
    return f"({arguments}\n){returned}" if lines else f"(){returned}"


def markdown(docstring: str) -> str:
    """A docstring in Google's style, with its sections as lists."""
    text, *sections = SECTION.split(docstring)
    parts = [text.strip() + "\n"]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        lines = re.split(r"\n(?=\S)", inspect.cleandoc(body))
        listed = [ITEM.sub(r"`\1`: \2", line) if title != "Returns" else line for line in lines]
        items = "".join("- " + re.sub(r"\n\s*", "\n  ", line.strip()) + "\n" for line in listed if line.strip())
        parts.append(f"{TITLES.get(title, title)}:\n\n{items}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
