"""The study of limits: its regions and scores are what they say, and its shortest run prints every table."""

from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.studies import limits, limits_toy


def test_rows_stand_where_they_should_and_regions_beside_them() -> None:
    x, y = limits_toy.rows(4000, 1)
    assert ((np.abs(x) >= 1) & (np.abs(x) <= 3)).all()
    assert np.std(y - limits_toy.truth(x)) == pytest.approx(limits_toy.NOISE, rel=0.05)
    assert np.abs(limits_toy.points("between")).max() < 1
    assert np.abs(limits_toy.points("outside")).min() > 3


def test_a_region_is_scored_against_the_function() -> None:
    def off(by: float, deviation: float) -> dict[str, limits_toy.Curve]:
        right = {
            name: limits_toy.truth(limits_toy.points(name)[:, 0].astype(np.float64)) for name in limits_toy.REGIONS
        }
        return {name: limits_toy.Curve(mean + by, np.full(len(mean), deviation)) for name, mean in right.items()}

    (first, *_) = limits_toy.by_region([off(0.1, 0.1), off(0.3, 0.1)])
    assert (first.error, first.deviation, first.held) == pytest.approx((0.05**0.5, 0.1, 0.5))


@pytest.mark.long
def test_unlike_rows_are_told_where_there_are_none() -> None:
    found = limits_toy.curves(1, count=100, steps=50)
    p_values = {name: curve.deviation for name, curve in found["ood"].items()}
    assert (p_values["outside"] <= 0.05).all()
    assert (p_values["on the rows"] <= 0.05).mean() < 0.3
    assert set(found) == {"passes, 1 hidden", "passes, 2 hidden", "ood", "ensemble of 5"}


@pytest.mark.long
def test_every_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    limits.main(["--repeats", "1", "--steps", "50", "--splits", "1", "--epochs", "1"])
    printed = capsys.readouterr().out
    for said in ("digits: 5 trainings", "of larger body mass", "ood: p of at most 0.05", "  5000 rows", "command: "):
        assert said in printed
