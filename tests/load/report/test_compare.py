from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.sample_results import results
from thinned.loadtest.report.compare import compare_results, main
from thinned.loadtest.sweep.results_document import write_results


def test_the_same_is_the_same() -> None:
    found = compare_results(results(), results(scale=1.0))
    assert found
    assert {change.verdict for change in found} == {"no change seen"}


def test_slower_is_worse_and_faster_is_better() -> None:
    worse = [c for c in compare_results(results(), results(scale=1.5)) if c.measure == "p50"]
    assert {change.verdict for change in worse} == {"worse"}
    assert all(change.low <= 1.5 <= change.high for change in worse)
    better = {
        change.verdict for change in compare_results(results(scale=1.5), results()) if change.measure == "throughput"
    }
    assert better == {"better"}


def test_one_repeat_tells_nothing() -> None:
    found = compare_results(results(repeats=1), results(repeats=1, scale=3))
    assert {change.verdict for change in found} == {"too few repeats"}


@pytest.mark.parametrize(
    ("scale", "status", "said"), [(1.0, 0, "0 better, 0 worse"), (1.5, 1, "worse"), (0.6, 0, "better")]
)
def test_the_command(scale: float, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, made in (("a", results()), ("b", results(scale=scale))):
        (tmp_path / folder).mkdir()
        write_results(made, tmp_path / folder)
    files = [str(tmp_path / folder / "results.json") for folder in "ab"]
    assert main(files) == status
    assert said in capsys.readouterr().out


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "expected the results.json" in capsys.readouterr().err
