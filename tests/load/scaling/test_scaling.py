"""Costs fitted to a document, replicas found by them, and the command that says both."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ROOT
from tests.test_readme import blocks
from thinned.loadtest.scaling.__main__ import main
from thinned.loadtest.scaling.against import compare
from thinned.loadtest.scaling.costs import Costs, CostsError, fit_costs
from thinned.loadtest.scaling.replicas_needed import UnreachableError, largest_rate, meets, plan, predict
from thinned.loadtest.scaling.simulation import ROUTINGS, simulate

REFERENCE = ROOT / "load" / "results" / "reference" / "results.json"
FEW = 1_500
CALL_MS, REQUEST_MS, ROW_PASS_MS, LOOP_MS, CLIENT_MS, QUEUE_MS = 0.8, 0.6, 0.004, 0.25, 0.4, 0.1


@pytest.fixture
def reference() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(REFERENCE.read_text())
    return document


def timing(value: float) -> dict[str, float]:
    return {"mean": value, "p50": value, "p95": 1.2 * value, "p99": 1.5 * value}


def known_cell(n_samples: int, clients: int) -> dict[str, Any]:
    """A cell of a service whose costs are known: calls hold 6 requests of 16 clients."""
    requests = 1 if clients == 1 else 6
    compute = CALL_MS + requests * (REQUEST_MS + ROW_PASS_MS * n_samples)
    latency = compute + QUEUE_MS + LOOP_MS + CLIENT_MS
    throughput = 1e3 / latency if clients == 1 else 1e3 * requests / compute
    return {
        "target": "service",
        "mode": "closed",
        "n_samples": n_samples,
        "rows": 1,
        "clients": clients,
        "rate": None,
        "answers": 5000,
        "throughput": {"value": throughput},
        "latency_ms": {name: {"value": latency} for name in ("p50", "p95", "p99")},
        "server_timing_ms": {"compute": timing(compute), "queue": timing(QUEUE_MS)},
        "client": {"cores": {"value": CLIENT_MS * throughput / 1e3}},
    }


def known(*counts: int) -> dict[str, Any]:
    return {
        "format": "thinned-load",
        "format_version": 1,
        "settings": {"limits": {"max_samples": 1000}},
        "model": {"name": "known"},
        "run": {"machine": "paper"},
        "cells": [known_cell(n, clients) for n in counts for clients in (1, 16)],
    }


COSTS = fit_costs(known(10, 100, 300), 100)


@pytest.mark.parametrize("n_samples", [10, 100, 200, 1000])
def test_costs_that_are_known_are_found_again(n_samples: int) -> None:
    costs = fit_costs(known(10, 100, 300), n_samples)
    assert 1e3 * costs.row_pass_s == pytest.approx(ROW_PASS_MS)
    assert 1e3 * costs.loop_s == pytest.approx(LOOP_MS)
    assert 1e3 * costs.away_s == pytest.approx(CLIENT_MS + QUEUE_MS)
    assert 1e3 * costs.alone_s == pytest.approx(CALL_MS + REQUEST_MS + ROW_PASS_MS * n_samples)
    if n_samples <= 300:  # What joining costs is known between the numbers that were measured.
        assert 1e3 * costs.request_s == pytest.approx(REQUEST_MS)


def test_the_plain_answer_has_costs_of_its_own() -> None:
    costs = fit_costs(known(0, 10, 100), 0)
    assert (costs.row_pass_s, costs.row_passes) == (0.0, 1)
    assert 1e3 * costs.alone_s == pytest.approx(CALL_MS + REQUEST_MS)


def test_of_two_workers_each_has_half_of_the_requests() -> None:
    document = known(10, 100)
    for cell in document["cells"]:
        if cell["clients"] == 16:
            cell["throughput"]["value"] *= 2
    assert fit_costs(document, 100, workers=2).request_s == pytest.approx(REQUEST_MS / 1e3)


def test_the_simulation_gives_back_what_it_was_fitted_to(reference: dict[str, Any]) -> None:
    """Alone to a few percent; joined within a third: what many clients do to each other is in one number."""
    for one in compare(reference, requests=2_000):
        measured = one.measured["p50"]
        if one.fitted and measured is not None:
            assert one.simulated["p50"] == pytest.approx(measured, rel=0.05 if one.load == "1 client" else 0.34)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(cells=[]), "closed load of 1 client"),
        (lambda d: d.update(cells=[c for c in d["cells"] if c["clients"] == 1]), "closed load of 1 client"),
        (lambda d: d.update(cells=[c for c in d["cells"] if c["n_samples"] == 10]), "two numbers of passes"),
        (lambda d: [c.update(server_timing_ms={"compute": {}}) for c in d["cells"]], "compute p50 is missing"),
        (lambda d: [c["server_timing_ms"].update(compute=timing(float("nan"))) for c in d["cells"]], "times of 0 or"),
        (lambda d: [c["server_timing_ms"].update(compute=timing(-1.0)) for c in d["cells"]], "times of 0 or more"),
    ],
)
def test_a_document_that_holds_too_little_says_what_to_measure(change: Any, message: str) -> None:
    document = known(10, 100)
    change(document)
    with pytest.raises(CostsError, match=message):
        fit_costs(document, 100)


@pytest.mark.parametrize("n_samples", [-1, 1, 1001])
def test_passes_that_the_service_would_refuse_are_refused(n_samples: int) -> None:
    with pytest.raises(CostsError, match="passes"):
        fit_costs(known(10, 100), n_samples)


def test_the_largest_rate_meets_the_limits_and_a_little_more_does_not() -> None:
    slo = {"p99": 20.0}
    rate = largest_rate(COSTS, slo, requests=FEW)
    assert meets(predict(COSTS, rate, 1, "least", requests=FEW).outcome, slo)
    assert not meets(predict(COSTS, 1.3 * rate, 1, "least", requests=FEW).outcome, slo)


def test_replicas_for_a_rate_are_the_fewest_that_meet_it() -> None:
    slo = {"p99": 20.0}
    least, any_one = (plan(COSTS, 4000.0, slo, routing, requests=FEW) for routing in ROUTINGS)
    assert least.replicas <= any_one.replicas
    assert meets(least.outcome, slo)
    assert meets(any_one.outcome, slo)
    assert not meets(predict(COSTS, 4000.0, least.replicas - 1, "least", requests=FEW).outcome, slo)


def test_at_random_a_thousand_replicas_bear_a_thousand_times_the_rate_of_one() -> None:
    rate = largest_rate(COSTS, {"p99": 20.0}, requests=FEW)
    assert plan(COSTS, 999.5 * rate, {"p99": 20.0}, "random", requests=FEW).replicas == 1000
    # And the many are as the one: what is said of one holds for a share of them that is simulated together.
    one = predict(COSTS, rate / 2, 1, "random", requests=10_000).outcome
    many = simulate(COSTS.model(), rate=10 * rate / 2, replicas=10, routing="random", requests=10_000)
    assert many.latency_ms("p99") == pytest.approx(one.latency_ms("p99"), rel=0.15)


def test_an_objective_below_a_lone_request_is_out_of_reach() -> None:
    with pytest.raises(UnreachableError, match="no number of replicas"):
        plan(COSTS, 100.0, {"p50": 1.0}, "least", requests=FEW)


# The command


def run(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[int, str, str]:
    try:
        status = main([*(str(one) for one in given), "--requests", str(FEW)])
    except SystemExit as ended:
        status = int(str(ended.code))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(known(10, 100)))
    return path


def test_the_command_says_how_many(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, document, "--rate", 1500, "--n-samples", 100, "--slo-ms", "p99=50")
    assert status == 0
    assert "0.8 ms, 0.6 ms for each request and 4 µs for each row-pass" in out
    assert [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")][-2:] == [
        "the least busy",
        "any",
    ]


def test_the_command_of_the_page_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (one.text for one in blocks((ROOT / "docs" / "scaling.md").read_text()) if one.language == "bash")
    command = shlex.split(block)
    assert command[:3] == ["python", "-m", "thinned.loadtest.scaling"]
    monkeypatch.chdir(ROOT)
    assert run(capsys, *command[3:])[0] == 0


def test_the_command_says_what_so_many_come_to(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (document, "--rate", 2000, "--n-samples", 100, "--slo-ms", "p99=20", "--replicas")
    assert run(capsys, *given, 1)[0] == 1
    assert run(capsys, *given, 6)[0] == 0


def test_the_command_holds_it_against_the_document(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, document, "--against")
    assert status == 0
    assert len(out.splitlines()) == 2 + 4


def test_the_command_says_what_is_out_of_reach(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, document, "--rate", 10, "--n-samples", 100, "--slo-ms", "p99=1")
    assert status == 1
    assert "no number of replicas" in err


ASKED = ("--rate", 10, "--n-samples", 100, "--slo-ms", "p99=50")


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("--rate", 0, *ASKED[2:]),
        ("--rate", "nan", *ASKED[2:]),
        ("--rate", "1e999", *ASKED[2:]),
        (*ASKED[:2], "--n-samples", "²", *ASKED[4:]),
        (*ASKED[:2], "--n-samples", 1, *ASKED[4:]),
        (*ASKED[:2], "--n-samples", 5000, *ASKED[4:]),
        (*ASKED[:4], "--slo-ms", "p98=50"),
        ASKED[:4],
        (*ASKED, "--workers", 0),
        (*ASKED, "--replicas", -1),
        (*ASKED, "--seed", "x"),
        (*ASKED, "--replicas", 10**12),
    ],
)
def test_what_cannot_be_used_is_said(given: Any, document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, document, *given)
    assert status == 2
    assert "expected" in err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"format": "thinned-load", "format_version": 2}',
        '{"format": "thinned-load", "format_version": 1}',
        '{"format": "thinned-load", "format_version": 1, "cells": 3, "settings": {}}',
        '{"format": "thinned-load", "format_version": 1, "cells": [3], "settings": null}',
        '{"format": "thinned-load", "format_version": 1, "cells": [{"target": "service"}], "settings": {}}',
        "\ud800 \x00".encode("utf-8", "surrogatepass"),
    ],
)
@pytest.mark.parametrize("asked", [ASKED, ("--against",)])
def test_another_document_ends_in_one_sentence(
    text: str | bytes, asked: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ü results.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, _, err = run(capsys, path, *asked)
    assert status == 2
    assert len(err.splitlines()) == 1


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, tmp_path / "none.json", *ASKED)[0] == 2


def test_costs_of_nothing_bound_a_search_too() -> None:
    """A document may hold zeros: the search ends all the same."""
    nothing = Costs(10, 1, 0.0, 0.0, 0.0, 0.0, 0.0, ((0.0, 1.0), (1.0, 1.0)), (10,))
    with pytest.raises(CostsError, match="take no time"):
        largest_rate(nothing, {"p99": 1.0}, requests=FEW)
