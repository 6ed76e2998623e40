"""The documents against the code: commands, settings, API fields, links, and every name of a file or module."""

from __future__ import annotations

import datetime
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from tests.service.cards import CLASSES, IMAGE, TOKENS, VALUE, card
from tests.serving import ROOT, run_cli
from tests.test_readme import bash, blocks, path_with_thinned
from thinned import __all__ as PUBLIC
from thinned.models.card import Calibration, MemberSpec, OodReference, OutputSpec, Policy
from thinned.service.cli.main import app
from thinned.service.schema.openapi import describe_api
from thinned.service.settings import DEBUG, Settings

DOCS = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in (*sorted(ROOT.glob("*.md")), *DOCS)}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


# How a document is read


def sections(name: str) -> Iterator[tuple[str, str]]:
    """The headings of a document, and the text under each up to the next one, without code blocks."""
    parts = re.split(r"^#{1,6} (.+)$", FENCE.sub("", DOCUMENTS[name]), flags=re.MULTILINE)
    return zip(parts[1::2], parts[2::2], strict=True)


def section(name: str, heading: str) -> str:
    (found,) = [text for title, text in sections(name) if title == heading]
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {i - 1 for i, row in enumerate(cells) if set("".join(row)) <= {"-", ":", " "}}
    return [row for i, row in enumerate(cells) if i not in heads and i - 1 not in heads]


def names(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def code(name: str) -> list[str]:
    """The lines of code in a document: those of its blocks, and what stands between backticks elsewhere."""
    text = DOCUMENTS[name]
    return [*names(FENCE.sub("", text)), *(line for block in FENCE.findall(text) for line in block.splitlines()[1:-1])]


# Commands

COMMAND = re.compile(r"^thinned ([a-z]+)$")
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
COMMAND_ROWS = [
    found[1]
    for row in rows(section("docs/commands.md", "Commands"))
    for name in names(row[0])
    if (found := COMMAND.match(name))
]
COMMAND_SECTIONS = {found[1]: text for title, text in sections("docs/commands.md") if (found := COMMAND.match(title))}
COMMAND_TITLES = [found[1] for title, _ in sections("docs/commands.md") if (found := COMMAND.match(title))]


@cache
def options(command: str) -> set[str]:
    """The options of a command, as it names them itself."""
    if command in ("load", "compare"):  # They pass their options on to a process of their own.
        found = set(re.findall(r"^  (?:-\w, )?(--[a-z][a-z-]*)", run_cli(command, "--help").stdout, re.MULTILINE))
    else:
        declared = [name for p in COMMANDS[command].params for name in (*p.opts, *p.secondary_opts)]
        found = {name for name in declared if name.startswith("-")}
    return found - {"--help", "-h"}


@pytest.mark.parametrize("command", sorted({*COMMANDS, *COMMAND_ROWS, *COMMAND_TITLES}))
def test_a_command_is_documented_once(command: str) -> None:
    assert command in COMMANDS, f"docs/commands.md names `thinned {command}`, which there is not"
    assert COMMAND_ROWS.count(command) == 1, f"rows of `thinned {command}` in the table of docs/commands.md"
    assert COMMAND_TITLES.count(command) == 1, f"sections of `thinned {command}` in docs/commands.md"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_options_of_a_command_are_documented(command: str) -> None:
    documented = [option for row in rows(COMMAND_SECTIONS[command]) for option in names(row[0])]
    assert sorted(documented) == sorted(options(command))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_code_exist_with_their_options(name: str) -> None:
    for line in code(name):
        for command, rest in re.findall(r"(?<![\w/.-])thinned ([a-z]+)\b([^|#;]*)", line):
            assert command in COMMANDS, line
            assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= options(command) | {"--help", "-h"}, line


# Settings

SETTING_ROWS = rows(section("docs/settings.md", "Settings"))
VARIABLES = {f"THINNED_{name.upper()}": field for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("variable", sorted({*VARIABLES, *(name for row in SETTING_ROWS for name in names(row[0]))}))
def test_a_setting_is_documented_once_as_it_is(variable: str) -> None:
    assert variable in VARIABLES, f"docs/settings.md names {variable}, which there is not"
    field = VARIABLES[variable]
    default = "not set" if field.default is None else str(field.default)
    assert [row for row in SETTING_ROWS if row[0] == f"`{variable}`"] == [[f"`{variable}`", default, field.description]]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_variables_named_in_documents_exist(name: str) -> None:
    assert set(re.findall(r"THINNED_[A-Z][A-Z_]*", DOCUMENTS[name])) <= {*VARIABLES, DEBUG}


# The API

DECIDES = Policy(
    score="entropy",
    threshold=0.5,
    risk=0.1,
    confidence=0.95,
    loss="wrong",
    n=100,
    counted="rows",
    accepted=0.9,
    measured=0.01,
)
FITTED = Calibration(rows=20, n_samples=32, temperature=1.1, scores=((0.5,),), policy=DECIDES)
OUTPUTS = (
    CLASSES.model_copy(update={"labels": ("a", "b", "c", "d"), "calibration": FITTED}),
    CLASSES.model_copy(update={"name": "raw", "scale": "logits", "calibration": FITTED}),
    VALUE,
    OutputSpec(name="tags", shape=(3,), dtype="float32", task="multilabel", scale="probabilities"),
    OutputSpec(name="amount", shape=(2,), dtype="float32", task="gaussian"),
    OutputSpec(name="map", shape=(4, 4, 2), dtype="float32", task="regression"),
)
REFERENCE = OodReference(
    created=datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC),
    reference=9,
    n=9,
    counted="rows",
    tensors=("dense",),
    numbers=4,
    sha256="0" * 64,
)
MEMBERS = (MemberSpec(name="a", version="1", sha256="0" * 64),) * 2
KNOWN = {"ood": REFERENCE, "members": MEMBERS}
OPENAPI = describe_api(card((IMAGE, TOKENS), OUTPUTS).model_copy(update=KNOWN), "1", Settings())
SCHEMAS: dict[str, Any] = OPENAPI["components"]["schemas"]
OBJECTS = {
    name: schema
    for name, schema in SCHEMAS.items()
    if name
    not in ("Inputs", "ModelRef")  # The first holds the model's own names; the second stands in the row `model`.
}
API_TITLE = re.compile(r"^(?:Request|Answer|Card|Body): (\w+)$")
API_ROWS = {found[1]: rows(text) for title, text in sections("docs/api.md") if (found := API_TITLE.match(title))}
FIELDS = [(name, field) for name in sorted(OBJECTS) for field in OBJECTS[name]["properties"]]
OWN_NAMES = {spec.name for spec in (IMAGE, TOKENS, *OUTPUTS)}


def inner_names(schema: Any) -> set[str]:
    """Names of the properties inside a property; not the model's own, nor those of schemas with their own table."""
    if isinstance(schema, list):
        return set().union(*map(inner_names, schema))
    if not isinstance(schema, dict):
        return set()
    if schema.get("$ref", "").endswith("/ModelRef"):
        return set(SCHEMAS["ModelRef"]["properties"])
    own = set(schema.get("properties", {})) - OWN_NAMES
    inside = [*schema.get("properties", {}).values(), *(schema.get(k, []) for k in ("items", "oneOf", "anyOf"))]
    return own.union(*map(inner_names, inside))


def test_the_api_has_a_table_for_each_object() -> None:
    assert sorted(API_ROWS) == sorted(OBJECTS)


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_the_fields_of_an_object_are_documented(name: str) -> None:
    documented = [field for row in API_ROWS[name] for field in names(row[0])]
    assert sorted(documented) == sorted(OBJECTS[name]["properties"])


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_what_is_inside_a_field_is_documented(name: str, field: str) -> None:
    (row,) = [row for row in API_ROWS[name] if names(row[0]) == [field]]
    assert inner_names(OBJECTS[name]["properties"][field]) <= set(names(row[-1]))


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, field in FIELDS if name.endswith("Request")])
def test_the_default_of_a_field_is_documented(name: str, field: str) -> None:
    (row,) = [row for row in API_ROWS[name] if names(row[0]) == [field]]
    required = field in OBJECTS[name]["required"]
    described = OBJECTS[name]["properties"][field]
    if field == "n_samples":  # It depends on the other fields; generated clients send a default that is named.
        assert "default" not in described
        assert row[2] == "by what is asked"
    elif field == "calibrated":
        assert row[2] == "by the model"
    else:
        assert row[2] == ("required" if required else f"`{json.dumps(described['default'])}`")


def test_the_endpoints_are_documented() -> None:
    documented = [name for row in rows(section("docs/api.md", "Endpoints")) for name in names(row[0])]
    described = {f"{method.upper()} {path}" for path, methods in OPENAPI["paths"].items() for method in methods}
    assert sorted(documented) == sorted(described | {"GET /", "GET /ui"})


def test_the_errors_are_documented() -> None:
    documented: dict[str, list[str]] = {}
    for status, title, _ in rows(section("docs/api.md", "Errors")):
        documented.setdefault(status, []).append(title)
    routing = {
        "404": "Not Found",
        "405": "Method Not Allowed",
        "431": "Request Header Fields Too Large",
    }
    # Said of what came before there was a request.
    connection = {"400": " or Bad Request", "408": " or Request Timeout"}
    answers = OPENAPI["paths"]["/predict_mc"]["post"]["responses"]
    described = {
        status: answer["description"] + connection.get(status, "")
        for status, answer in answers.items()
        if status != "200"
    }
    assert {status: " or ".join(titles) for status, titles in documented.items()} == described | routing


# Links, and names of files, modules and targets

LINKS = [
    (name, link) for name, text in DOCUMENTS.items() for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))
]


@pytest.mark.parametrize(("name", "link"), [(n, link) for n, link in LINKS if not link.startswith("https://")])
def test_a_relative_link_leads_somewhere(name: str, link: str) -> None:
    file, _, anchor = link.partition("#")
    target = (ROOT / name).parent / file if file else ROOT / name
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", target.read_text()), re.MULTILINE)
        assert anchor in map(slug, headings)


def linked_from(name: str) -> set[str]:
    """The files that a document links, by their paths from the root."""
    links = {link.partition("#")[0] for holder, link in LINKS if holder == name and not link.startswith("https://")}
    return {os.path.normpath(Path(name).parent / link) for link in links if link}


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in DOCS])
def test_the_readme_leads_to_every_document(path: str) -> None:
    """By a link, or by one of a document that it leads to."""
    found: set[str] = set()
    new = {"README.md"}
    while new:
        found |= new
        new = set().union(*(linked_from(name) for name in new if name in DOCUMENTS)) - found
    assert path in found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_and_public_names_exist(name: str) -> None:
    modules = re.findall(r"python -m ([\w.]+)", DOCUMENTS[name])
    dotted = [found[0] for text in code(name) if (found := re.match(r"thinned(?:\.\w+)+", text))]
    modules += [word for word in dotted if word.split(".")[1] not in PUBLIC]
    for module in modules:
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for line in code(name) for target in re.findall(r"^make ([a-z][a-z-]*)", line)} <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_exist(name: str) -> None:
    paths = re.findall(
        r"(?<![\w/.-])((?:models|service|load|tests|docs|examples|deploy|thinned)/[\w./@-]*\w/?)", DOCUMENTS[name]
    )
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_methods_of_a_stored_model_exist() -> None:
    from thinned import LoadedModel

    (sentence,) = re.findall(r"`thinned\.load\(\"mine\"\)`[^.]+", DOCUMENTS["README.md"])
    methods = names(sentence)[1:]
    assert methods
    assert [name for name in methods if not callable(getattr(LoadedModel, name, None))] == []


# CONTRIBUTING


def test_file_names_in_contributing_exist() -> None:
    known = {path.name for top in ("models", "service", "load", "tests") for path in (ROOT / top).rglob("*.py")}
    assert {word for word in names(DOCUMENTS["CONTRIBUTING.md"]) if re.fullmatch(r"\w+\.py", word)} <= known


@pytest.mark.parametrize(
    "room",
    [
        f"{top}/{path.name}{'/' if path.is_dir() else ''}"
        for top in ("models", "service")
        for path in sorted((ROOT / top).iterdir())
        if not path.name.startswith("_")
    ],
)
def test_a_room_has_one_floor(room: str) -> None:
    assert [room in names(" ".join(row)) for row in rows(section("CONTRIBUTING.md", "Floors"))].count(True) == 1


WORDS = ("site", "pass", "mask", "rate", "block", "prefix", "suffix", "frontier", "work item", "batch item")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_defined_once(word: str) -> None:
    assert [row[0] for row in rows(section("CONTRIBUTING.md", "Glossary"))].count(word) == 1


# Custom layers


def _python_of_custom_layers() -> list[str]:
    return [block.text for block in blocks(DOCUMENTS["docs/custom-layers.md"]) if block.language == "python"]


def test_the_law_of_one_s_own_has_its_closed_form() -> None:
    names: dict[str, Any] = {"__name__": "closed_form"}
    exec(_python_of_custom_layers()[2], names)
    passes, x, weights, bias = (names[name] for name in ("passes", "x", "weights", "bias"))
    variance = (x**2 @ weights**2).ravel()
    error = 4 * (variance / len(passes)) ** 0.5
    assert (abs(passes.mean(axis=0) - (x @ weights + bias)).ravel() < error).all()
    np.testing.assert_allclose(passes.var(axis=0, ddof=1).ravel(), variance, rtol=0.1)
    np.testing.assert_allclose(names["model"].predict({"x": x})["y"], x @ weights + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_the_custom_layer_can_be_served(tmp_path: Path) -> None:
    layer, model, _ = _python_of_custom_layers()
    (tmp_path / "my_layers.py").write_text(layer)
    np.save(tmp_path / "rows.npy", np.ones((2, 4), "float32"))
    made = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{model}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (script,) = (b.text for b in blocks(DOCUMENTS["docs/custom-layers.md"]) if b.language == "bash")
    assert "jittered" in bash(script, tmp_path, path_with_thinned(tmp_path))


def test_the_arguments_of_register_noise_are_documented() -> None:
    from thinned import Draw, register_noise

    documented = rows(section("docs/custom-layers.md", "register_noise"))
    first = [names(row[0])[0] for row in documented]
    methods = [found[1] for name in first if (found := re.match(r"draw\.(\w+)\(", name))]
    public = [name for name, _ in inspect.getmembers(Draw, inspect.isfunction) if not name.startswith("_")]
    arguments = [name for name in first if not name.startswith("draw.")]
    assert arguments == list(inspect.signature(register_noise).parameters)
    assert sorted(methods) == public


# The site


def test_the_site_and_llms_txt_have_every_page() -> None:
    """`make docs` itself refuses a page that is not in the navigation, and a link that leads nowhere."""
    pages = {name for name in DOCUMENTS if name.startswith("docs/")} | {"README.md", "SECURITY.md", "CHANGELOG.md"}
    for file, link in (("mkdocs.yml", r"^ +- .+: (\S+\.md)$"), ("llms.txt", r"^- \[[^\]]+\]\((\S+)\)")):
        listed = re.findall(link, (ROOT / file).read_text(), re.MULTILINE)
        assert len(listed) == len(set(listed)), file
        assert pages <= set(listed), file
        assert all((ROOT / page).is_file() for page in listed), file
