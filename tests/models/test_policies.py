"""The law of policies: over repeated calibrations accepted rows have a larger risk than stated in few of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.models.evaluation.test_run import evaluated
from tests.models.test_promises import spec
from thinned.models.calibration.policy import PolicyRequest, fit_policy
from thinned.models.card import Calibration, OutputSpec, Policy
from thinned.models.errors import CalibrationError
from thinned.models.evaluation.losses import RowLosses, class_losses, policy_scores, value_losses
from thinned.models.evaluation.page import page
from thinned.models.evaluation.rows import ClassRows
from thinned.models.uncertainty.folds import Units
from thinned.models.uncertainty.policies import describe_policy
from thinned.models.uncertainty.risk_control import bet_p_value, least_accepted, share_p_value

REPEATS = 500
FRESH = 20_000
Draw = np.random.Generator


def one_answer(rows: int, draw: Draw) -> tuple[RowLosses, Units]:
    """Two scores, of which one says nothing; a row is wrong the more likely, the larger the other is."""
    score = draw.uniform(size=rows)
    lost = (draw.uniform(size=rows) < 0.5 * score**4).astype(np.float64)
    return RowLosses({"entropy": score, "mutual_information": draw.uniform(size=rows)}, lost, 1), Units.of_rows(rows)


def positions(rows: int, draw: Draw) -> tuple[RowLosses, Units]:
    """Nine positions in a row, wrong together."""
    score = draw.uniform(size=rows)
    wrong = draw.beta(0.5, 2, size=(rows, 1)) * 2 * score[:, np.newaxis] ** 3
    lost = (draw.uniform(size=(rows, 9)) < wrong).mean(axis=1)
    return RowLosses({"entropy": score}, lost, 9), Units.of_rows(rows)


def groups(rows: int, draw: Draw) -> tuple[RowLosses, Units]:
    """Groups of five rows, of which some err much more than others."""
    hard = np.repeat(draw.gamma(0.5, 2.0, size=rows // 5), 5)
    score = draw.uniform(size=rows)
    lost = (draw.uniform(size=rows) < np.minimum(1, hard * 0.3 * score**3)).astype(np.float64)
    return RowLosses({"entropy": score}, lost, 1), Units.of_groups(np.repeat(np.arange(rows // 5), 5))


KINDS: dict[str, tuple[Callable[[int, Draw], tuple[RowLosses, Units]], int]] = {
    "one answer": (one_answer, 450),
    "few rows": (one_answer, 150),
    "positions": (positions, 450),
    "groups": (groups, 3000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_over_500_calibrations_the_risk_is_kept_as_often_as_is_stated(kind: str) -> None:
    make, rows = KINDS[kind]
    draw = np.random.default_rng(rows)
    asked = PolicyRequest(0.05, confidence=0.9)
    rest, _ = make(FRESH, draw)
    over = promised = 0
    shares = []
    for _ in range(REPEATS):
        try:
            policy = fit_policy(asked, *make(rows, draw))
        except CalibrationError:
            continue
        promised += 1
        accepted = rest.scores[policy.score] <= policy.threshold
        over += rest.losses[accepted].mean() > 0.05
        shares.append(accepted.mean())
    # As many as chance would let pass, if it were exactly one in ten.
    assert over <= stats.binom.ppf(0.999, REPEATS, 0.1)
    assert promised > (0.2 if kind == "few rows" else 0.9) * REPEATS
    assert np.mean(shares) > 0.3


def test_the_score_that_ranks_best_is_taken_or_the_one_that_is_asked_for() -> None:
    rows, units = one_answer(600, np.random.default_rng(1))
    assert fit_policy(PolicyRequest(0.05), rows, units).score == "entropy"
    with pytest.raises(CalibrationError, match=r"a risk of 0.05 cannot be promised"):
        fit_policy(PolicyRequest(0.05, score="mutual_information"), rows, units)
    with pytest.raises(CalibrationError, match=r"--score expects entropy or mutual_information .* received variance"):
        fit_policy(PolicyRequest(0.05, score="variance"), rows, units)


def test_a_risk_that_these_rows_cannot_promise_is_told_with_the_rows_needed() -> None:
    right = RowLosses({"entropy": np.linspace(0, 1, 90)}, np.zeros(90), 1)
    assert least_accepted(0.01, 0.95) == 299
    with pytest.raises(
        CalibrationError, match=r"299 accepted rows without a loss .* about (\d+) calibration rows"
    ) as told:
        fit_policy(PolicyRequest(0.01), right, Units.of_rows(90))
    needed = int(str(told.value).split(" calibration rows, of which")[0].rpartition(" ")[2])
    enough = RowLosses({"entropy": np.linspace(0, 1, needed)}, np.zeros(needed), 1)
    found = fit_policy(PolicyRequest(0.01), enough, Units.of_rows(needed))
    assert (found.measured, found.n) == (0.0, needed - needed // 3)
    with pytest.raises(CalibrationError, match="2995732273 accepted rows without a loss are the least that could"):
        fit_policy(PolicyRequest(1e-9), right, Units.of_rows(90))
    with pytest.raises(CalibrationError, match="no less than asked for; ask for more risk"):
        fit_policy(PolicyRequest(0.01), RowLosses(right.scores, np.ones(90), 1), Units.of_rows(90))


def test_the_p_values_are_what_they_say() -> None:
    lost = np.repeat([1.0, 0.0], [3, 97])
    assert share_p_value(lost, 0.1) == pytest.approx(stats.binom.cdf(3, 100, 0.1))
    assert (share_p_value(lost[:0], 0.1), bet_p_value(np.zeros(0), 0.1, 0.5)) == (1.0, 1.0)
    # Three lose 0.9 beyond the risk, the others win 0.1 of it.
    bet = bet_p_value(lost - 0.1, 0.1, 0.5)
    assert bet == pytest.approx((0.5**3 * (1 + 0.05 / 0.9) ** 97) ** -1)
    assert stats.binom.cdf(3, 100, 0.1) < bet


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_bet_against_a_true_risk_is_won_no_more_often_than_it_says(part: float) -> None:
    draw = np.random.default_rng(3)
    p = [bet_p_value(draw.beta(0.2, 1.8, size=300) - 0.1, 0.1, part) for _ in range(2000)]
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(p) <= level) <= level + 3 * (level / 2000) ** 0.5


def test_losses_are_shares_of_a_row() -> None:
    draw = np.random.default_rng(2)
    passes = draw.dirichlet(np.ones(3), size=(4, 8))
    labels = draw.integers(0, 3, 8)
    rows = class_losses(ClassRows.of(passes), labels, 4, several=False)
    wrong = (passes.mean(axis=0).argmax(axis=1) != labels).reshape(4, 2)
    np.testing.assert_allclose(rows.losses, wrong.mean(axis=1))
    assert set(rows.scores) == {"entropy", "mutual_information"}
    off = value_losses(np.zeros((2, 2)), np.ones((2, 2)), np.array([[0.5, 2.0], [-3.0, 3.0]]), 1.0)
    np.testing.assert_allclose(off.losses, [0.5, 1.0])


def policy(**more: Any) -> Policy:
    given = {"score": "entropy", "threshold": 0.5, "risk": 0.05, "confidence": 0.95, "loss": "wrong", "n": 100}
    return Policy.model_validate({**given, "counted": "rows", "accepted": 0.7, "measured": 0.01, **more})


def test_a_policy_is_told_and_scored() -> None:
    fitted = Calibration(rows=150, n_samples=64, policy=policy())
    own: OutputSpec = spec("classification", (3,)).model_copy(update={"calibration": fitted})
    assert OutputSpec.model_validate_json(own.model_dump_json()) == own
    told = describe_policy(own)
    assert told is not None
    assert "rows whose entropy is at most 0.5 are accepted, of which a share of 0.05 at most is wrong" in told
    assert describe_policy(spec("classification", (3,))) is None
    found = policy_scores(policy(), RowLosses({"entropy": np.array([0.1, 0.2, 0.9])}, np.array([0.0, 1.0, 1.0]), 1))
    assert (found.accepted, found.loss) == (pytest.approx(2 / 3), 0.5)
    assert "66.7% of 3 rows are accepted, with a mean loss of 0.5" in found.told
    none = policy_scores(policy(), RowLosses({"entropy": np.array([0.9])}, np.array([1.0]), 1))
    assert "none of 1 rows is accepted" in none.told


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "gaussian"])
def test_an_evaluation_says_what_a_policy_does(task: str) -> None:
    name = {"regression": "variance", "gaussian": "variance"}.get(task, "entropy")
    large = {"loss": "large error", "max_error": 1.5} if name == "variance" else {}
    own = policy(score=name, threshold=0.6, **large)
    factor = {"variance_factor": 4.0} if task == "gaussian" else {}
    found = evaluated(task, calibration=Calibration(rows=150, n_samples=8, policy=own, **factor), counts=(8,))
    assert found.policy is not None
    assert 0 <= found.policy.accepted <= 1
    # Scores are those of the passes as they are, and losses those of the mean over them.
    plain = evaluated(task, counts=(8,)).series[1].scores[0]
    if task in ("classification", "multilabel"):
        assert found.policy.of_all == pytest.approx(1 - (plain["accuracy"] or 0))
    else:
        assert found.policy.of_all > 0
        assert (plain["area_under_squared_error"] or 0) > 0
    assert "Decisions" in page(found, [])
    assert found.to_json()["policy"]["stated"] == 0.05
