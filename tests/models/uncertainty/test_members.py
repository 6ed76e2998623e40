"""What is averaged over the members of an ensemble, and the parts of the variance, against NumPy on the passes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from thinned.models.card import OutputSpec
from thinned.models.sampling import Made
from thinned.models.uncertainty import BlockStatistics, RunningStatistics, answer_output
from thinned.models.uncertainty.members import (
    gathered,
    made_together,
    parts_of_passes,
    pooled_answer,
    rule_of,
    still,
)

MEMBERS, PASSES, ROWS, UNITS = 3, 70, 4, 2
RANDOM = np.random.default_rng(0)
DRAWN = RANDOM.normal(size=(MEMBERS, PASSES, ROWS, UNITS)) + 3 * RANDOM.normal(size=(MEMBERS, 1, ROWS, UNITS))
POOLED = np.moveaxis(DRAWN, 0, 1).reshape(-1, ROWS, UNITS)
"""All passes of all members, pass by pass."""


def spec(**fields: object) -> OutputSpec:
    known: dict[str, object] = {"name": "y", "shape": (UNITS,), "dtype": "float32", "task": "regression"}
    return OutputSpec.model_validate({**known, "members": MEMBERS, **fields})


def statistics(members: np.ndarray = DRAWN) -> RunningStatistics:
    return RunningStatistics().update(gathered([BlockStatistics.of_passes(one) for one in members], "passes"))


def test_the_mean_is_that_of_all_passes_and_the_variance_the_sum_of_its_parts() -> None:
    found = statistics()
    np.testing.assert_allclose(found.mean, POOLED.mean(axis=0))
    assert found.parts is not None
    np.testing.assert_allclose(found.parts.within, DRAWN.var(axis=1, ddof=1).mean(axis=0))
    np.testing.assert_allclose(found.parts.between, DRAWN.mean(axis=1).var(axis=0))
    np.testing.assert_allclose(found.variance, found.parts.within + found.parts.between)
    np.testing.assert_allclose(found.population_variance, POOLED.var(axis=0))
    assert found.count == PASSES


def test_kept_passes_tell_the_same_parts() -> None:
    for told, kept in zip(statistics().parts or (), parts_of_passes(POOLED, MEMBERS), strict=True):
        np.testing.assert_allclose(told, kept)
    once = parts_of_passes(POOLED[:MEMBERS], MEMBERS)
    assert not once.within.any()
    np.testing.assert_allclose(once.between, POOLED[:MEMBERS].var(axis=0))


def test_the_standard_error_is_that_of_the_passes_alone() -> None:
    """Of members that differ as they like: what lies between them is no error."""
    apart = [RunningStatistics().update(BlockStatistics.of_passes(one)) for one in DRAWN]
    expected = np.sqrt(sum(one.error_of_passes**2 for one in apart)) / MEMBERS
    np.testing.assert_allclose(statistics().error_of_passes, expected)
    moved = statistics(DRAWN + np.arange(MEMBERS).reshape(-1, 1, 1, 1))
    np.testing.assert_allclose(moved.error_of_passes, expected)
    assert moved.degrees_of_freedom("independent") == PASSES - 1
    # Over many draws the means scatter as it says.
    many = np.random.default_rng(1).normal(size=(400, MEMBERS, 160, 1, 1))
    scatter = many.mean(axis=(1, 2)).std()
    for sampling in ("independent", "stratified"):
        said = np.mean([statistics(one).standard_error(sampling)[0] ** 2 for one in many[:100]]) ** 0.5
        assert said == pytest.approx(scatter, rel=0.15), sampling


def test_blocks_rows_and_pieces_change_nothing() -> None:
    whole, pieces = statistics(), RunningStatistics()
    for first, last in ((0, 20), (20, 64), (64, PASSES)):
        parts = [BlockStatistics.of_passes(one[first:last], first=first) for one in DRAWN]
        pieces.update(gathered(parts, "passes"))
    np.testing.assert_allclose(pieces.variance, whole.variance)
    upper, lower = statistics(DRAWN[:, :, :1]), statistics(DRAWN[:, :, 1:])
    joined = RunningStatistics.of_rows([upper, lower])
    np.testing.assert_allclose(joined.variance, whole.variance)
    np.testing.assert_allclose(joined.error_of_passes, whole.error_of_passes)


def test_passes_of_a_block_are_those_of_all_members() -> None:
    parts = [BlockStatistics(0, np.array([32, 2]), one[:2], one[:2], passes=one[:34]) for one in DRAWN]
    first, second = gathered(parts, "passes").blocks()
    assert first.passes is not None
    assert second.passes is not None
    np.testing.assert_array_equal(np.concatenate([first.passes, second.passes]), POOLED[: 34 * MEMBERS])


def test_members_that_draw_nothing_are_told_by_one_pass() -> None:
    answers = RANDOM.normal(size=(MEMBERS, ROWS, UNITS)).astype(np.float32)
    parts = [still(one, None, keep_passes=True) for one in answers]
    found = RunningStatistics().update(gathered(parts, "exact"))
    assert found.parts is not None
    assert not found.parts.within.any()
    np.testing.assert_allclose(found.variance, answers.astype(np.float64).var(axis=0))
    error, source = found.standard_error("stratified")
    assert source == "exact"
    assert not error.any()
    answer = answer_output(spec(), found, sampling="stratified", separate=True)
    assert (answer.estimator, answer.degrees_of_freedom) == ("exact", None)
    assert answer.variance_between is not None
    np.testing.assert_allclose(answer.variance_between, answer.variance)
    assert answer.decomposition is not None
    np.testing.assert_allclose(answer.decomposition.epistemic, answer.variance)


@pytest.mark.parametrize("scale", ["probabilities", "logits"])
def test_parts_of_probabilities_add_up_for_members_that_draw_nothing(scale: str) -> None:
    logits = RANDOM.normal(size=(MEMBERS, ROWS, 3)).astype(np.float32)
    probs = softmax(logits.astype(np.float64), axis=-1)
    given = logits if scale == "logits" else probs.astype(np.float32)
    parts = [still(one, scale, keep_passes=True) for one in given]  # type: ignore[arg-type]
    block = gathered(parts, "exact")
    found = RunningStatistics().update(block)
    classes = spec(shape=(3,), task="classification", scale=scale)
    answer = answer_output(classes, found, sampling="stratified", passes=block.passes, separate=True)
    assert answer.decomposition is not None
    np.testing.assert_allclose(answer.decomposition.epistemic, probs.var(axis=0), atol=1e-7)
    np.testing.assert_allclose(answer.decomposition.aleatoric, (probs * (1 - probs)).mean(axis=0), atol=1e-7)
    entropies = -(probs * np.log(probs)).sum(axis=-1)
    assert answer.expected_entropy is not None
    assert answer.mutual_information is not None
    np.testing.assert_allclose(answer.expected_entropy, entropies.mean(axis=0), atol=1e-6)
    assert (answer.mutual_information > 0).all()


@pytest.mark.parametrize(
    ("made", "together"),
    [
        (["passes", "exact"], "passes"),
        (["closed_form", "exact", None], "closed_form"),
        (["more_masks", "more_masks"], "more_masks"),
        (["exact", None], "exact"),
        ([None, None], "exact"),
    ],
)
def test_the_whole_is_made_as_its_least_member_is(made: list[Made | None], together: Made) -> None:
    assert made_together(made) == together


def test_logits_become_those_of_the_mean_probabilities() -> None:
    logits = 3 * RANDOM.normal(size=(MEMBERS, ROWS, 4))
    pooled = pooled_answer(logits, rule_of(spec(shape=(4,), task="classification", scale="logits")))
    np.testing.assert_allclose(softmax(pooled, axis=-1), softmax(logits, axis=-1).mean(axis=0))
    one = pooled_answer(logits, rule_of(spec(shape=(4,), task="multilabel", scale="logits")))
    np.testing.assert_allclose(expit(one), expit(logits).mean(axis=0))
    single = logits[..., :1]
    alone = pooled_answer(single, rule_of(spec(shape=(1,), task="classification", scale="logits")))
    np.testing.assert_allclose(expit(alone), expit(single).mean(axis=0))


@pytest.mark.parametrize("task", ["regression", "gaussian", "quantile", "classification", "multilabel"])
@pytest.mark.parametrize("scale", ["values", "probabilities", "logits"])
def test_members_that_agree_are_answered_as_they_are(task: str, scale: str) -> None:
    numbers = np.array([[[-700.0, 2.5, 0.0, 40.0]]])
    pooled = pooled_answer(np.repeat(numbers, 2, axis=0), rule_of(spec(shape=(4,), task=task, scale=scale)))
    np.testing.assert_allclose(pooled, numbers[0], rtol=1e-12, atol=1e-12)


def test_of_a_gaussian_output_variances_are_averaged_and_not_their_logarithms() -> None:
    numbers = RANDOM.normal(size=(MEMBERS, ROWS, 4))
    pooled = pooled_answer(numbers, rule_of(spec(shape=(4,), task="gaussian")))
    np.testing.assert_allclose(pooled[:, :2], numbers[..., :2].mean(axis=0))
    np.testing.assert_allclose(np.exp(pooled[:, 2:]), np.exp(numbers[..., 2:]).mean(axis=0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_one_member_cannot_answer_no_mean_hides(bad: float) -> None:
    for task, scale in (("regression", "values"), ("classification", "logits"), ("multilabel", "logits")):
        numbers = np.zeros((2, 1, 3))
        numbers[1, 0, 1] = bad
        pooled = pooled_answer(numbers, rule_of(spec(shape=(3,), task=task, scale=scale)))
        assert not np.isfinite(pooled).all(), (task, bad)
