"""What a notebook shows: text, HTML and drawings, and what is said where the extra is not installed."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from tests.service.cards import CLASSES, card
from tests.service.notebook.conftest import Load
from tests.service.notebook.test_loaded_model import INPUTS, X
from thinned import Answer
from thinned.models.errors import UsageError
from thinned.service.schema.response_body import ClassSets


class Cells(HTMLParser):
    """The cells of the tables of a page, and whether every tag that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def test_text_and_html_show_the_same_cells(loaded: Load) -> None:
    model = loaded("several")
    for shown in (model, model.predict(INPUTS["several"]), model.summary(INPUTS["several"], n_samples=8)):
        page = Cells(shown._repr_html_())
        assert not page.open
        text = " ".join(repr(shown).split())
        assert len(page.cells) > 10
        for cell in page.cells:
            assert " ".join(cell.split()) in text


def test_text_tells_each_row_and_how_to_get_it_again(loaded: Load) -> None:
    answer = loaded("classes").summary(np.repeat(X, 9, axis=0), n_samples=16, seed=4)
    lines = repr(answer).splitlines()
    assert lines[0].split() == [
        "row",
        "label",
        "mean",
        "probability",
        "standard",
        "deviation",
        "entropy",
        "(nats)",
        "of",
        "it:",
        "noise",
        "of",
        "it:",
        "network",
    ]
    assert [line.split()[0] for line in lines[2:-1]] == list(map(str, range(20)))
    assert re.fullmatch(r"classes:\w+; 16 passes, seed 4;.*; the first 20 of 45 rows", lines[-1])
    assert "it draws no noise" in repr(loaded("fixed"))


def test_names_are_text_in_html(loaded: Load) -> None:
    answer = loaded("classes").summary(X[:1], n_samples=4)
    answer.index = ["<script>alert(1)</script>"]
    assert "<script>" not in answer._repr_html_()
    assert "<script>alert(1)</script>" in Cells(answer._repr_html_()).cells


def test_sets_of_classes_are_lists_of_names() -> None:
    sets = ClassSets(
        np.array([[True, False, True], [False] * 3]), CLASSES.model_copy(update={"labels": ("a", "b", "ü")})
    )
    of_one = Answer({"prediction_set": sets}, card())
    assert of_one["prediction_set"] == of_one.document["prediction_set"] == [["a", "ü"], []]
    assert Answer({"prediction_set": {"kind": sets}}, card())["prediction_set"] == {"kind": [["a", "ü"], []]}


@pytest.mark.parametrize("name", ["classes", "several", "words"])
def test_drawings_hold_the_numbers_of_the_answer(name: str, loaded: Load) -> None:
    model = loaded(name)
    drawn = model.plot(INPUTS[name], n_samples=20, seed=2)
    answer = model.summary(INPUTS[name], n_samples=20, seed=2)
    passes = model.sample(INPUTS[name], n_samples=20, seed=2)
    axes = [ax for ax in drawn.figure.axes if ax.get_visible()]
    assert len(axes) == {"classes": 5, "several": 6, "words": 1}[name]
    first = answer["mean"]["kind"] if name == "several" else answer["mean"]
    of_first = passes["kind"] if name == "several" else passes
    dots, mean = axes[0].lines[0].get_ydata(), axes[0].lines[1].get_ydata()
    expected, of_passes = (first.ravel(), of_first) if name == "words" else (first[0], of_first[:, 0])
    np.testing.assert_allclose(mean, expected)
    np.testing.assert_allclose(np.sort(dots), np.sort(of_passes.ravel()))
    assert drawn._repr_png_().startswith(b"\x89PNG")
    assert len(model.predict(INPUTS[name]).plot().figure.axes[0].lines) == 1


def test_a_drawing_of_many_rows_is_bounded(loaded: Load) -> None:
    many = np.repeat(X, 200, axis=0)
    assert len(loaded("classes").predict(many).plot().figure.axes) == 12
    drawn = loaded("words").predict(np.ones((1000, 2), "int32")).plot()
    assert len(drawn.figure.axes[0].lines[0].get_ydata()) == 400
    assert "the first 400 of 1000 rows" in drawn.figure.axes[0].get_title(loc="left")


def test_without_the_extra_it_says_what_to_install(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("matplotlib", "pandas"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed: it cannot be found or imported
    model = loaded("classes")
    answer = model.predict(X, n_samples=4)
    assert repr(answer)
    for ask, package in (
        (answer.plot, "matplotlib"),
        (answer.to_frame, "pandas"),
        (lambda: model.plot(X), "matplotlib"),
    ):
        with pytest.raises(UsageError) as refused:
            ask()
        told = f'this needs {package}, which is not installed; install it with: pip install "thinned[notebook]"'
        assert str(refused.value) == told
