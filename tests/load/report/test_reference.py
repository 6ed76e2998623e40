"""The reference run behind the README's figures: complete, small, and quoted without changes."""

from __future__ import annotations

import re

from tests.load.sweep.test_results_document import errors_of
from tests.serving import ROOT
from thinned.loadtest.report.plots import PLOTS
from thinned.loadtest.report.readme_table import readme_table
from thinned.loadtest.sweep.results_document import read_results

FOLDER = ROOT / "load" / "results" / "reference"
README = (ROOT / "README.md").read_text()


def test_it_fits_its_schema_and_is_whole() -> None:
    results = read_results(FOLDER / "results.json")
    assert errors_of(results) == []
    assert not results["partial"]
    assert results["verdict"] in ("met", "missed")
    assert {cell["target"] for cell in results["cells"]} == {"service", "baseline"}
    assert not any(cell["errors"] for cell in results["cells"] if cell["target"] == "service")


def test_the_readme_quotes_it() -> None:
    results = read_results(FOLDER / "results.json")
    assert readme_table(results) in README
    assert results["run"]["command"] in README
    for link in re.findall(r"\]\((load/results/[^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_its_files_are_small() -> None:
    ignored = {"locust.html", "latencies.npz"}
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.name not in ignored]
    assert {f"{plot.name}.svg" for plot in PLOTS} <= {path.name for path in files}
    assert max(path.stat().st_size for path in files) < 700_000
    assert sum(path.stat().st_size for path in files) < 2_000_000
