"""Tables fit the console, and break no number."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinned.service.cli.output import blocks_of, console, table

HEADS = ["score", "N=1", "N=10", "N=30", "N=100", "N=300"]
ROWS = [
    ("root mean squared error", *(f"{i}.4567\n[{i}.1234, {i}.8901]" for i in range(1, 6))),
    ("accuracy", *(f"0.98{i}" for i in range(5))),
]
NUMBERS = [number for row in ROWS for cell in row[1:] for number in re.findall(r"[0-9.]+", cell)]


@pytest.mark.parametrize("columns", ["27", "32", "40", "60", "80", "120", "160", "400"])
def test_no_number_is_broken_and_no_line_is_too_long(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table(*HEADS, rows=ROWS, right=HEADS[1:])
    out = capsys.readouterr().out
    for head in HEADS:
        assert head in out
    assert all(len(line.rstrip()) <= int(columns) for line in out.splitlines())
    assert sorted(re.findall(r"\d+\.\d+", out)) == sorted(NUMBERS)
    blocks = len([line for line in out.splitlines() if line.strip().startswith("score")])
    assert blocks == {"60": 3, "80": 2, "120": 1, "160": 1, "400": 1}.get(columns, 5)


@pytest.mark.parametrize(("columns", "width"), [("72", 72), ("", 160), ("wide", 160), ("0", 160), ("-3", 160)])
def test_columns_holds_in_pipes(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width


Cells = st.text(st.sampled_from("ab 0.9漢"), max_size=12)


@given(st.lists(st.lists(Cells, min_size=3, max_size=3), min_size=1, max_size=8), st.integers(20, 200))
def test_every_column_stands_in_a_block_that_fits(columns: list[list[str]], width: int) -> None:
    blocks = blocks_of(columns, width, right=[], repeat=1)
    places = [place for block in blocks for place in block if place]
    assert places == list(range(1, len(columns)))
    assert all(0 in block for block in blocks)
    for block in blocks:
        assert all(n >= 1 for n in block.values())
        assert sum(block.values()) + 3 * len(block) <= max(width, 2 * (24 + 3))
