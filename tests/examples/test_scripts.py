"""The scripts in `examples/`, run as a reader would run them, and the formulas in them against others."""

from __future__ import annotations

import re
import runpy
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.serving import ROOT

EXAMPLES = ROOT / "examples"


def run(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a script prints."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert 4 < len(printed) < 12
    assert all(len(line) <= 120 for line in printed)
    return printed


def functions(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="read")


@pytest.fixture(scope="module")
def diabetes() -> None:
    """A trained `diabetes` in the run's store."""
    from thinned.models.examples import diabetes

    diabetes.train()


def test_every_script_is_run_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.iterdir()) == ["abstain", "active_learning", "drift", "intervals"]


@pytest.mark.usefixtures("digits")
def test_what_is_refused_is_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in run("abstain", capsys) if re.match(r" +\d+%", line)]
    shares, right, base = np.array([[float(cell.rstrip("%")) for cell in line] for line in lines]).T
    assert shares.tolist() == [100, 95, 90, 80, 70, 60]
    assert right[0] == base[0]
    assert (np.diff(right) > -1).all()
    assert right[-1] > base[-1] + 10


def test_accuracy_of_kept_is_counted() -> None:
    accuracy = functions("abstain")["accuracy_of_kept"]
    unsure, right = np.array([0.9, 0.1, 0.5, 0.3]), np.array([False, True, False, True])
    assert [accuracy(unsure, right, share) for share in (0.25, 0.5, 0.75, 1)] == [1, 1, 2 / 3, 0.5]


@pytest.mark.usefixtures("digits")
def test_rows_chosen_together_tell_more(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run("active_learning", capsys)[2:-1]
    together, alone = ([float(line.split()[place]) for line in lines] for place in (-1, -2))
    assert len(together) == 3
    assert all(joint <= single + 0.01 for joint, single in zip(together, alone, strict=True))
    assert together[2] > together[1] - 0.1  # chosen by other passes than it is scored by
    assert together[2] > together[0]


def test_joint_information_is_that_of_all_ways_to_label() -> None:
    found = functions("active_learning")
    passes = np.random.default_rng(0).dirichlet(np.full(3, 0.3), (7, 5))
    rows = [4, 0, 2]
    ways = [
        [passes[:, row, label] for row, label in zip(rows, way, strict=True)] for way in product(range(3), repeat=3)
    ]
    joint = np.prod(ways, axis=1).mean(axis=1)
    conditional = -(passes[:, rows] * np.log(passes[:, rows])).sum(axis=(1, 2)).mean()
    expected = -(joint * np.log(joint)).sum() - conditional
    assert found["joint_information"](passes, rows) == pytest.approx(expected)
    assert found["joint_information"](passes, [3]) == pytest.approx(found["information"](passes)[3])
    first, second = found["batch_bald"](passes, np.arange(5), 2)
    scores = {pair: found["joint_information"](passes, [first, pair]) for pair in range(5) if pair != first}
    assert first == found["information"](passes).argmax()
    assert second == max(scores, key=scores.__getitem__)


@pytest.mark.long
@pytest.mark.usefixtures("diabetes")
def test_intervals_hold_what_they_promise(capsys: pytest.CaptureFixture[str]) -> None:
    *patients, of_passes, conformal = run("intervals", capsys)[1:]
    for line in patients:
        mean, low, high = map(float, re.findall(r"-?\d+", line.split(":")[1])[:1] + re.findall(r"-?\d+", line)[-3:-1])
        assert low < mean < high
    held = float(re.findall(r"held ([\d.]+)%", conformal)[0])
    assert 88 < held < 94  # of about 45 patients, so that the promise is exact to 1 in 46
    assert float(re.findall(r"held ([\d.]+)%", of_passes)[0]) < held - 20


def test_half_width_is_a_rank() -> None:
    width = functions("intervals")["half_width"]
    assert width(np.arange(9.0)[::-1], 0.9) == 8
    assert width(np.arange(19.0), 0.9) == 17
    assert width(np.arange(8.0), 0.9) == np.inf  # no 9 of 10 of 8


@pytest.mark.usefixtures("digits")
def test_entropy_rises_where_images_have_changed_and_only_there(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line.split()[0]: line for line in run("drift", capsys)[2:]}
    assert lines["clean"].endswith("no rise shown")
    assert lines["noisy"].endswith("look at the images")
    assert lines["turned"].endswith("look at the images")
