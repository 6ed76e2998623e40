"""Rounds over servers of the standard library: what is counted, what is refused, and that nothing is left running."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from thinned.loadtest.benchmarks.http_client import BrokenAnswerError, LoadTimes
from thinned.loadtest.benchmarks.rivals import contenders, measuring
from thinned.loadtest.benchmarks.rivals.contenders import Contender, Rival
from thinned.loadtest.benchmarks.rivals.figures import Figures
from thinned.loadtest.benchmarks.rivals.measuring import QUICK, measure_in_rounds
from thinned.loadtest.benchmarks.rivals.running import memory_of
from thinned.loadtest.benchmarks.rivals.tables import bars, contenders_table

FAKE = Rival("Fake", (), "json", str(Path(__file__).parent / "fake_rival.py"))
PLAN = replace(QUICK, rounds=2, seconds=0.05, load_seconds=0.1, samples=(30, 100), load_samples=(100,))
ROWS = np.random.default_rng(0).random((16, 8, 8, 1), np.float32)


def fake(does: str, way: str = "tiled") -> Contender:
    return Contender("fake", way, does, {"FAKE": does})


BESIDE = Contender("fake", "tiled", "right beside", {"FAKE": "right"})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figures]:
    """Figures of some servers, the first of which the others are held against."""
    folder = tmp_path_factory.mktemp("a network that no other process names")
    stored: Any = SimpleNamespace(path=folder, tag="digits:1")
    given = [fake("right"), fake("right", "loop"), fake("wrong"), fake("broken"), fake("ends"), BESIDE]
    figures: dict[str, Figures] = {}
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dict_of(contenders.RIVALS), "fake", FAKE)
        python = Path(sys.executable)
        measure_in_rounds([(one, python) for one in given], ROWS, stored, plan=PLAN, tick=steps.append, figures=figures)
    # The first and the last are measured twice. Three end in the first round, and one that loops is measured once.
    assert len(steps) == len(given) + 2
    left = [one.pid for one in psutil.process_iter() if any(str(folder) in word for word in words(one))]
    assert left == []
    return figures


def dict_of(mapping: Any) -> dict[str, Rival]:
    assert isinstance(mapping, dict)
    return mapping


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def test_a_right_one_is_measured_in_each_round(measured: dict[str, Figures]) -> None:
    one = measured["fake-tiled-right"]
    assert (one.fault, len(one.starts_s), len(one.memory)) == (None, 2, 2)
    for n in PLAN.samples:
        assert len(one.alone[n].took_s) >= 3
        assert one.alone[n].failed == 0
    assert one.loaded[100].per_second > 0
    assert one.memory[0].processes == 2
    assert one.memory[0].resident > 2
    assert 0 < (one.memory[0].proportional or 1) <= one.memory[0].resident
    assert len(measured["fake-loop-right"].starts_s) == 1
    assert len(measured["fake-loop-right"].loaded[100].took_s) == PLAN.clients
    assert json.loads(json.dumps(one.as_json()))["one_client"]["30"]["failed"] == 0


def test_ours_is_asked_in_turns_with_a_rival(measured: dict[str, Figures]) -> None:
    ours, rival = measured["fake-tiled-right"], measured["fake-tiled-right-beside"]
    assert rival.fault is None
    for n in PLAN.samples:
        assert len(rival.alone[n].took_s) >= 3
        assert rival.ours_alone[n].took_s == ours.alone[n].took_s
        assert rival.ours_alone[n].lasted_s == pytest.approx(rival.alone[n].lasted_s, rel=0.5)
    assert rival.ours_loaded[100].took_s == ours.loaded[100].took_s
    assert ours.ours_alone == measured["fake-loop-right"].ours_alone == {}


@pytest.mark.parametrize("who", [0, 1])
def test_a_broken_answer_is_the_fault_of_whose_it_is(who: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ours as well, while both are warmed up."""
    stored: Any = SimpleNamespace(path=tmp_path, tag="digits:1")
    monkeypatch.setitem(dict_of(contenders.RIVALS), "fake", FAKE)
    ports: list[int] = []

    def asked(port: int, *_: object, **__: object) -> LoadTimes:
        ports.append(port)
        if (port == ports[0]) == bool(who):  # The rival is asked first.
            raise BrokenAnswerError("the service closed the connection")
        return LoadTimes(took_s=[0.001], lasted_s=0.001)

    monkeypatch.setattr(measuring, "run_clients", asked)
    figures: dict[str, Figures] = {}
    given = [(one, Path(sys.executable)) for one in (fake("right"), BESIDE)]
    plan = replace(PLAN, rounds=1)
    measuring.measure_in_rounds(given, ROWS, stored, plan=plan, tick=lambda _: None, figures=figures)
    faults = [one.fault for one in figures.values()]
    assert faults[who] == "the service closed the connection"
    assert who or faults[1] is None


def test_the_best_rival_is_the_nearest_in_its_turns() -> None:
    """A slow hour in which one rival was measured must not make it the best, or the worst."""

    def took(ms: float) -> dict[int, LoadTimes]:
        return {100: LoadTimes(took_s=[ms / 1e3] * 10, lasted_s=1.0)}

    figures = {
        "thinned": Figures(alone=took(4.0), distance=0.0),
        "quick hour": Figures(alone=took(5.0), ours_alone=took(2.0), distance=0.0),
        "slow hour": Figures(alone=took(10.0), ours_alone=took(6.0), distance=0.0),
        "alone": Figures(alone=took(9.0), distance=0.0),
    }
    by_name = {name: Contender("fastapi", "tiled", name) for name in figures}
    (bar,) = bars(figures, by_name | {"thinned": Contender("thinned")})
    assert (bar.ours, bar.best, bar.ratio) == (6.0, (10.0, "FastAPI, tiled, slow hour"), pytest.approx(0.6))


@pytest.mark.parametrize(
    ("does", "fault"),
    [("wrong", "standard errors"), ("broken", "status 200, received 500"), ("ends", "no such network")],
)
def test_others_are_told_and_left_out(measured: dict[str, Figures], does: str, fault: str) -> None:
    one = measured[f"fake-tiled-{does}"]
    assert fault in (one.fault or "")
    assert "\n" not in (one.fault or "")
    assert one.alone == {}


def test_the_table_has_all_and_the_bars_only_who_was_right(measured: dict[str, Figures]) -> None:
    ours = {**measured, "thinned": measured["fake-tiled-right"]}
    by_name = {
        one.name: one for one in [Contender("thinned"), *map(fake, ("wrong", "broken", "ends", "right")), BESIDE]
    }
    by_name["fake-loop-right"] = fake("right", "loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dict_of(contenders.RIVALS), "fake", FAKE)
        assert contenders_table(ours, by_name, 16).row_count == 7
        told = bars(ours, by_name)
    assert [(bar.what, bar.n_samples, bar.aim) for bar in told] == [
        ("p50_ms", 30, None),
        ("p50_ms", 100, 0.5),
        ("per_second", 100, 4.0),
    ]
    assert all("right" in bar.best[1] for bar in told)


def test_memory_of_a_process_that_is_gone_is_none() -> None:
    gone = next(pid for pid in range(2**22 - 1, 2, -1) if not psutil.pid_exists(pid))
    assert memory_of(gone).processes == 0
