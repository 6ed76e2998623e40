from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.load.sample_results import results
from thinned.loadtest.report.plots import PLOTS, render
from thinned.loadtest.report.write import main, write_report
from thinned.loadtest.sweep.results_document import write_results

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = results(slo={"p99": 50.0}, tolerance=0.1)
    path = tmp_path_factory.mktemp("report")
    write_results(made, path)
    write_report(made, path)
    return path


class Addresses(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "img":
            self.alts.append(dict(attrs).get("alt"))


def test_the_page_stands_alone(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = Addresses()
    page.feed(text)
    assert page.found
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.found)
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    assert all(page.alts)


def test_every_plot_is_there_small_and_named(folder: Path) -> None:
    for plot in PLOTS:
        svg = folder / "plots" / f"{plot.name}.svg"
        assert svg.stat().st_size < 300_000
        assert not re.search(r"<!DOCTYPE|<metadata", svg.read_text())
        with Image.open(folder / "plots" / f"{plot.name}.png") as image:
            assert image.width > 600
        assert f"plots/{plot.name}.png" in (folder / "report.md").read_text()


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_axes_name_what_they_show_and_its_unit(plot: Any) -> None:
    figure = plot.figure(results(slo={"p99": 50.0}))
    (axes,) = figure.axes
    labels = axes.get_xlabel() + " / " + axes.get_ylabel()
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert re.search(r"\(ms\)|per second|\(passes\)|share of", labels), labels


@pytest.mark.parametrize("plot", [plot for plot in PLOTS if plot.name != "parts"], ids=lambda plot: plot.name)
def test_lines_differ_in_more_than_colour(plot: Any) -> None:
    (axes,) = plot.figure(results()).axes
    handles, _ = axes.get_legend_handles_labels()
    lines = [handle.lines[0] if hasattr(handle, "lines") else handle for handle in handles]
    seen = [
        (x.get_marker(), x.get_linestyle(), str(x.get_markerfacecolor()) == "white", x.get_linewidth()) for x in lines
    ]
    assert len(set(seen)) == len(seen)


def test_partial_results_say_so(tmp_path: Path) -> None:
    made = results(interrupted="3 of 8 measurements were done", baseline=False)
    write_report(made, tmp_path)
    for name in ("report.html", "report.md"):
        assert "Partial results: 3 of 8 measurements were done." in (tmp_path / name).read_text()


def test_nothing_measured_is_reported_too(tmp_path: Path) -> None:
    made = {**results(baseline=False), "cells": [], "fits": [], "precision": None, "recommendation": None}
    write_report(made, tmp_path)
    assert "small" in (tmp_path / "report.html").read_text()
    assert all(render(plot, made) is None for plot in PLOTS)


def test_a_report_is_written_anew_from_its_results(folder: Path) -> None:
    before = (folder / "report.md").read_text()
    (folder / "report.md").unlink()
    assert main([str(folder / "results.json")]) == 0
    assert len((folder / "report.md").read_text()) == pytest.approx(len(before), rel=0.02)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: the page is not looked at in a browser")
def test_a_browser_shows_the_page(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,4600"]
    address = (folder / "report.html").as_uri()
    command = [str(CHROMIUM), *options, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", address]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Image.open(picture) as image:
        bands = [image.crop((0, top, 1100, top + 920)).convert("L") for top in range(0, 4600, 920)]
    # Every screenful shows something: text or plots on white, nothing empty or black.
    for band in bands:
        dark = sum(band.histogram()[:128]) / (band.width * band.height)
        assert 0.002 < dark < 0.5
