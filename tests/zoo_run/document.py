"""The table of docs/models.md, written from the results of runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.zoo_run.members import GROUPS

__all__ = ["table", "write"]

BEGIN, END = "<!-- written by make zoo: begin -->", "<!-- written by make zoo: end -->"
VERDICTS = ("right", "rightly refused", "refused", "too slow", "wrong", "traceback")
BAD = ("refused", "too slow", "wrong", "traceback", "not made")
_LONGEST = 260


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Put the table between its two marks."""
    text = path.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{table(results)}\n{END}{after}")


def table(results: Mapping[str, Any]) -> str:
    """Counts by group, then what is not right, then what is rightly refused, then the names of all that is right."""
    members = list(results["members"].values())
    counts = Counter(member["verdict"] for member in members)
    asked = sum(counts[verdict] for verdict in counts if verdict not in ("rightly refused", "not made"))
    share = 100 * counts["right"] / max(asked, 1)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"2-core AMD EPYC, 24 GiB; Python {results['python']}, {versions}; {results['date']}; "
        "`make zoo`, `make zoo-hub`. "
        f"{len(members)} models: {counts['right']} of {asked} that have a right answer are served right "
        f"({share:.1f} %), "
        f"{counts['rightly refused']} are rightly refused, {counts['wrong']} wrong, {counts['traceback']} tracebacks.",
        "",
        "| models | " + " | ".join(VERDICTS) + " |",
        "| --- |" + " ---: |" * len(VERDICTS),
    ]
    for group, words in GROUPS.items():
        own = Counter(member["verdict"] for member in members if member["group"] == group)
        if own:
            lines.append(f"| {words} | " + " | ".join(str(own[verdict]) for verdict in VERDICTS) + " |")
    lines += ["", "### Not right", ""]
    lines += _rows([m for m in members if m["verdict"] in BAD], "model | verdict | what was said") or ["None."]
    lines += ["", "### Rightly refused", ""]
    lines += _rows([m for m in members if m["verdict"] == "rightly refused"], "model | verdict | what was said")
    lines += ["", "### Right", ""]
    for group, words in GROUPS.items():
        names = [_short(m) for m in members if m["group"] == group and m["verdict"] == "right"]
        lines += [f"- {words}: {', '.join(names)}."] if names else []
    return "\n".join(lines) + "\n"


def _short(member: Mapping[str, Any]) -> str:
    return str(member["name"]).partition("/")[2].replace("_", " ")


def _rows(members: list[Any], head: str) -> list[str]:
    if not members:
        return []
    lines = [f"| {head} |", "| --- | --- | --- |"]
    return lines + [f"| {m['group']}: {_short(m)} | {m['verdict']} | {_said(m['text'])} |" for m in members]


def _said(text: str) -> str:
    """What was said, short enough for a cell, without paths of this machine."""
    plain = " ".join(re.sub(r"\S*/(?=[\w.-]+\.keras)", "", text).split()).replace("|", "/").replace("<", "&lt;")
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"
