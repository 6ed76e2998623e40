"""The trials of `make faults`, shortened, of one service; bars in milliseconds are left to the long ones.

`make test` runs beside other things, and a bar of 100 ms would tell of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.nginx import NGINX
from tests.faults.figures import Figure, Options, at_least, at_most, quantile
from tests.faults.floods import LARGE_WORK, abandoned_of, flood_of
from tests.faults.fuzz import fuzz_of
from tests.faults.memory import FAILING, failed_allocation_of
from tests.faults.models import make_models
from tests.faults.replicas import replicas
from tests.faults.slow_clients import long_header_of, slow_clients_of
from tests.long_trials import some_long
from tests.serving import Service, start_service

TIMEOUTS = {"THINNED_HEADER_TIMEOUT_S": "1", "THINNED_BODY_TIMEOUT_S": "1.5"}


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failing") / "fail"


@pytest.fixture(scope="module")
def attacked(mark: Path) -> Iterator[Service]:
    make_models("small")
    with start_service("small", {**TIMEOUTS, **LARGE_WORK, "FAIL_WHEN": str(mark)}, target=FAILING) as service:
        yield service


TRIALS: dict[str, Callable[[Service], Iterator[Figure]]] = {
    "slow clients": lambda service: slow_clients_of(service, 10, header_timeout_s=1.0, body_timeout_s=1.5),
    "a long header": lambda service: long_header_of(service, 10),
    "changed bytes": lambda service: fuzz_of(service, 300),
    "a flood": lambda service: flood_of(service, rounds=2),
    "abandoned requests": abandoned_of,
}


@pytest.mark.parametrize("name", some_long(TRIALS, ["slow clients"]))
def test_it_holds(attacked: Service, name: str) -> None:
    figures = list(TRIALS[name](attacked))
    assert figures
    assert [figure for figure in figures if not figure.held and not figure.bar.endswith(" ms")] == []


def test_a_failed_allocation_is_one_requests_end(attacked: Service, mark: Path) -> None:
    assert [figure for figure in failed_allocation_of(attacked, mark) if not figure.held] == []


@pytest.mark.long
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_replicas_behind_nginx_answer_right_while_one_is_killed_and_one_drained() -> None:
    make_models("cnn")
    figures = list(replicas(Options(short=True)))
    assert len(figures) > 5
    assert [figure for figure in figures if not figure.held and not figure.bar.endswith(" ms")] == []


def test_a_figure_knows_its_bar() -> None:
    assert at_most("x", 1.0, 2.0, "ms") == ("x", "1 ms", "<= 2 ms", True)
    assert at_least("x", 1234.5, 2e6, "%") == ("x", "1,234%", ">= 2,000,000%", False)
    assert not at_most("x", float("nan"), 2.0).held
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
