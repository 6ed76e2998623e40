"""The end of a sweep fits one screen, and says no more than was measured."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.load.sample_results import results
from tests.serving import ROOT
from thinned.loadtest.report.screen import MOST_LINES, print_summary
from thinned.loadtest.report.tables import report_tables
from thinned.loadtest.sweep.results_document import read_results


def printed(document: Any, width: int = 100) -> list[str]:
    out = io.StringIO()
    print_summary(document, Console(file=out, width=width))
    return out.getvalue().splitlines()


def of(document: dict[str, Any], **change: Any) -> dict[str, Any]:
    """The document with other counts in its first cell."""
    return {**document, "cells": [{**document["cells"][0], **change}, *document["cells"][1:]]}


@pytest.mark.parametrize("given", [{"slo": {"p99": 50.0}}, {}, {"errors": {"503": 3, "200 wrong answer": 1}}])
def test_it_fits_a_screen(given: dict[str, Any]) -> None:
    made = results(**given)
    lines = printed(made)
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 100
    assert len(printed({**made, "cells": made["cells"] * 5})) <= MOST_LINES
    narrow = printed(made, width=80)
    assert max(map(len, narrow)) <= 80
    assert "…" not in "".join(narrow[1:])


def test_each_load_has_its_goodput_its_bounds_and_the_spread_of_its_runs() -> None:
    made = results(slo={"p99": 8.0})
    cell = next(c for c in made["cells"] if c["target"] == "service" and c["n_samples"] == 100 and c["clients"] == 4)
    line = next(line for line in printed(made) if line.split()[0:3] == ["100", "4", "clients"])
    good, p50 = cell["goodput"], cell["bounds_ms"]["p50"]
    assert good["good"] == sum(good["per_second"]["each"])  # windows of one second
    assert f"{100 * good['share']:.1f} %" in line
    assert f"{p50['value']:.3g} ({p50['low']:.3g}–{p50['high']:.3g})" in line
    each = cell["latency_ms"]["p50"]["each"]
    assert f"{100 * np.std(each, ddof=1) / np.mean(each):.2g} %" in line


def test_no_p99_of_50_answers() -> None:
    made = results(slo={"p99": 50.0})
    few = of(made, answers=50, bounds_ms={**made["cells"][0]["bounds_ms"], "p99": {"needs": 368}})
    text = "\n".join(printed(few))
    assert [line.split()[1] for line in printed(few) if "needs 368 " in line and "client" in line] == ["1"]
    assert "Under 1 load too few answers came to tell p99, which needs 368." in text
    for table in report_tables(few)[:2]:
        assert "needs 368" in table.rows[0]
        assert all("needs 368" not in row for row in table.rows[1:])


def test_what_was_measured_before_there_were_bounds_is_still_told() -> None:
    old = read_results(ROOT / "load" / "results" / "reference" / "results.json")
    assert "bounds_ms" not in old["cells"][0]
    assert any("needs 368" in line for line in printed(old))
    assert any("needs 368" in row for table in report_tables(old) for row in table.rows)


def test_nothing_measured_is_said() -> None:
    made = {**results(baseline=False), "cells": [], "recommendation": None}
    assert "Nothing was measured." in "\n".join(printed(made))
