from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.sweep.intervals import estimate, fit_line, student_quantile


def test_students_t_is_that_of_the_tables() -> None:
    assert student_quantile(1) == pytest.approx(12.706, abs=1e-3)
    assert student_quantile(4) == pytest.approx(2.776, abs=1e-3)
    assert student_quantile(9, 0.99) == pytest.approx(3.250, abs=1e-3)


def test_an_estimate_covers_as_often_as_it_says() -> None:
    source = np.random.default_rng(1)
    made = [estimate(source.normal(10, 1, 5).tolist()) for _ in range(2000)]
    covered = np.mean([e is not None and e.low <= 10 <= e.high for e in made])  # type: ignore[operator]
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_repeat_tells_no_interval_and_none_tell_nothing() -> None:
    one = estimate([3.0])
    assert one is not None
    assert (one.value, one.low, one.high) == (3.0, None, None)
    assert estimate([]) is None
    assert estimate([float("nan")]) is None


def test_a_line_is_found_with_its_residuals() -> None:
    x = [10, 30, 100, 300]
    left = [0.1, -0.1, -0.1, 0.1]
    line = fit_line(x, [2 + 0.05 * n + r for n, r in zip(x, left, strict=True)])
    assert line is not None
    assert line.intercept == pytest.approx(2, abs=0.1)
    assert line.slope == pytest.approx(0.05, abs=0.001)
    assert sum(line.residuals) == pytest.approx(0, abs=1e-9)
    assert line.r_squared > 0.999
    assert fit_line([1, 2], [1, 2]) is None
