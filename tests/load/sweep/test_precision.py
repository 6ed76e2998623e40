from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thinned.loadtest.sweep.precision import measure_precision


def independent(spread: float) -> Any:
    """A service whose passes are independent normal numbers; two outputs of unlike size."""

    def answer(n_samples: int, seed: int) -> dict[str, Any]:
        passes = np.random.default_rng(seed).normal(5, spread, (n_samples, 8))
        parts: dict[str, Any] = {}
        for name, factor in (("y", 1.0), ("z", 100.0)):
            variance = (factor * passes).var(axis=0, ddof=1)
            found = {"mean": factor * passes.mean(axis=0), "variance": variance}
            found["standard_error"] = np.sqrt(variance / n_samples)
            for part, array in found.items():
                parts.setdefault(part, {})[name] = array.tolist()
        return parts

    return answer


def test_independent_passes_have_the_error_that_they_must() -> None:
    points, reference = measure_precision(independent(0.3), [10, 100], seeds=60, seed=1, reference_samples=1000)
    assert reference == 16_000
    for point in points:
        n = point.n_samples
        assert point.mean_error[0] == pytest.approx(1 / n**0.5, rel=0.15)
        assert point.mean_error[1] < point.mean_error[0] < point.mean_error[2]
        assert point.reported_error == pytest.approx(1 / n**0.5, rel=0.1)
        assert point.variance_error[0] == pytest.approx((2 / (n - 1)) ** 0.5, rel=0.2)


def test_same_seed_same_numbers() -> None:
    once, again = (measure_precision(independent(1), [10], seeds=5, seed=3, reference_samples=50) for _ in range(2))
    assert once == again
