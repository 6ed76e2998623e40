"""What `make bench` calls slower: beyond what turns differ by, in cells that both runs have, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinned.loadtest.benchmarks.ratios import figures_of, growth, machine_of, over_floor, read_figures, slower_cells


def cell(ratio: float, *, spread: float = 0.05, network: str = "mlp", rows: int = 1) -> dict[str, Any]:
    quartiles = {"p25": ratio - spread, "median": ratio, "p75": ratio + spread}
    return {"network": network, "rows": rows, "n_samples": 100, "ratios": {"ours": quartiles, "ready": quartiles}}


def test_ratios_are_those_of_the_same_turn() -> None:
    assert over_floor([2.0, 20.0, 3.0], [1.0, 10.0, 1.0, 5.0]) == {"p25": 2.0, "median": 2.0, "p75": 2.5}


@pytest.mark.parametrize(("now", "spread", "slower"), [(1.2, 0.05, 0), (1.35, 0.05, 2), (1.35, 0.4, 0), (0.5, 0.05, 0)])
def test_slower_is_what_lies_apart_and_by_a_tenth(now: float, spread: float, slower: int) -> None:
    found = slower_cells([cell(now, spread=spread)], [cell(1.15)])
    assert len(found) == slower
    if found:
        assert str(found[0]) == "mlp, B = 1, N = 100: ours takes 1.35 times the floor, 1.15 in the figures"


def test_cells_that_only_one_run_has_are_left_out() -> None:
    assert not slower_cells([cell(9, rows=16), cell(9, network="cnn")], [cell(1)])


def test_growth_is_the_line_through_the_counts_of_a_network_and_its_rows() -> None:
    took = {n: {"median_ms": 0.5 + 0.02 * n} for n in (10, 100, 300)}
    cells = [{"network": "mlp", "rows": 4, "n_samples": n, "ours": took[n], "floor": {"median_ms": n}} for n in took]
    (line,) = growth([*cells, {**cells[0], "rows": 1}])
    assert line[:2] == ("mlp", 4)
    assert line[2:] == pytest.approx((0.5, 20, 1000))
    assert line.row_passes_per_second == pytest.approx(4 / 20e-6)


def test_the_committed_figures_can_be_read() -> None:
    cells = read_figures(figures_of("cpu"))
    assert {"mlp", "cnn", "mobilenet", "transformer", "digits"} <= {cell["network"] for cell in cells}
    assert not slower_cells(cells, cells)


@pytest.mark.parametrize("text", ["", "[]", '{"cells": [{"network": "mlp"}]}', json.dumps({"cells": 3})])
def test_a_file_of_something_else_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="does not hold figures"):
        read_figures(path)
    assert read_figures(tmp_path / "none.json") == []


@pytest.mark.parametrize("about", [{"machine": "one, 2 cores"}, {}, 3])
def test_figures_say_of_which_machine_they_are(tmp_path: Path, about: Any) -> None:
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({"about": about, "cells": [cell(1)]}))
    assert read_figures(path) == [cell(1)]
    assert machine_of(path) == ("one, 2 cores" if about == {"machine": "one, 2 cores"} else None)
