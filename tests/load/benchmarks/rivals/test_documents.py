"""The figures of docs/rivals.md and the README are those of load/results/rivals.json."""

from __future__ import annotations

import json

import pytest

from tests.serving import ROOT
from thinned.loadtest.benchmarks.rivals.contenders import CONTENDERS
from thinned.loadtest.benchmarks.rivals.documents import RESULTS, with_figures

pytestmark = pytest.mark.skipif(not RESULTS.is_file(), reason="no run on a quiet machine is kept yet")
RUN = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def test_the_run_is_whole() -> None:
    # Those that loop are nobody's best.
    assert set(RUN["contenders"]) >= {one.name for one in CONTENDERS if one.way != "loop"}
    assert RUN["skipped"] == {}
    loops = {one.name for one in CONTENDERS if one.way == "loop"}
    for name, one in RUN["contenders"].items():
        if name in loops:
            continue
        assert one["fault"] is None, name
        assert all(cell["failed"] == 0 for part in ("one_client", "many_clients") for cell in one[part].values()), name


@pytest.mark.parametrize("page", ["docs/rivals.md", "README.md"])
def test_a_page_has_its_figures(page: str) -> None:
    text = (ROOT / page).read_text()
    assert with_figures(page, text, RUN) == text, "python -m thinned.loadtest.benchmarks.rivals.documents writes them"


@pytest.mark.parametrize("text", ["", "## Figures\n\nnone", "## Figures\n\na\n\n## B\n\n## Figures\n\na\n\n## B\n"])
def test_a_page_without_one_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one place"):
        with_figures("docs/rivals.md", text, RUN)
