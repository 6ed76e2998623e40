from __future__ import annotations

import time
from itertools import islice

import numpy as np
import pytest

from thinned.loadtest.arrivals import ArrivalSchedule, poisson, wait_until


def test_gaps_are_those_of_a_poisson_process() -> None:
    gaps = np.diff(list(islice(poisson(50.0, [1]), 20_000)))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.03)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_same_seed_same_arrivals() -> None:
    first, again, other = (list(islice(poisson(5.0, seed), 3000)) for seed in ([1, 2], [1, 2], [1, 3]))
    assert first == again
    assert first != other
    assert first == sorted(first)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        next(poisson(0.0, [1]))


def test_a_schedule_gives_each_arrival_once() -> None:
    schedule = ArrivalSchedule(10.0, [7])
    expected = list(islice(poisson(10.0, [7]), 50))
    taken = [schedule.take() for _ in range(3)] + schedule.take_before(expected[20])
    assert taken == expected[:20]
    assert schedule.due == expected[20]


def test_waiting_ends_at_the_moment_and_not_before() -> None:
    late = []
    for wait in (0.0, 0.0004, 0.003, 0.0105):
        moment = time.perf_counter() + wait
        assert wait_until(moment)
        late.append(time.perf_counter() - moment)
    assert min(late) >= 0
    assert sorted(late)[1] < 0.002


def test_waiting_gives_up_to_let_a_user_stop() -> None:
    began = time.perf_counter()
    assert not wait_until(began + 5, at_most_s=0.02)
    assert time.perf_counter() - began < 1
