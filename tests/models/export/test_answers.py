"""The fields of an exported file against those of the API, of the same passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from thinned.models.card import Calibration, OutputSpec
from thinned.models.dropout.block_reduction import reduce_blocks
from thinned.models.export.answers import answers_of, pooled_answer, still_moments
from thinned.models.export.streamed_passes import OutputMoments
from thinned.models.uncertainty import BlockStatistics, RunningStatistics, members
from thinned.models.uncertainty.answer import answer_output

FIELDS = (
    "mean",
    "variance",
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "mean_probabilities",
    "plain_mean",
    "plain_mean_probabilities",
    "plain_predictive_entropy",
)
COUNT = 20


def passes_of(task: str, scale: str, width: int) -> np.ndarray:
    logits = np.random.default_rng(0).normal(size=(COUNT, 4, width))
    if scale != "probabilities":
        return logits
    if task == "multilabel" or width == 1:
        return 1 / (1 + np.exp(-logits))
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [None, 1.7])
@pytest.mark.parametrize(
    ("task", "scale", "width"),
    [
        ("regression", "values", 2),
        ("classification", "probabilities", 3),
        ("classification", "probabilities", 1),
        ("classification", "logits", 3),
        ("classification", "logits", 1),
        ("multilabel", "probabilities", 3),
        ("multilabel", "logits", 3),
    ],
)
def test_fields_are_those_of_the_api(task: Any, scale: Any, width: int, temperature: float | None) -> None:
    calibration = None
    if temperature is not None:
        calibration = Calibration.model_construct(temperature=temperature, variance_factor=None)
    spec = OutputSpec.model_construct(
        name="y", shape=(width,), dtype="float32", task=task, scale=scale, calibration=calibration, noise=None
    )
    passes = passes_of(task, scale, width)
    classes = scale if task == "classification" else None
    blocks = [None if x is None else x.numpy() for x in reduce_blocks(tf.constant(passes), tf.constant(0), classes)]
    told = BlockStatistics(0, np.array([COUNT]), *blocks[:4])
    expected = answer_output(spec, RunningStatistics().update(told), sampling="independent", calibrated=True)
    sums = [None if x is None else tf.constant(x[0] * COUNT) for x in blocks[2:4]]
    moments = OutputMoments(tf.constant(blocks[0][0]), tf.constant(blocks[1][0]), *sums, None)
    found = answers_of(spec, [moments], ["passes"], tf.constant(COUNT, tf.int64))
    for field in FIELDS:
        own = getattr(expected, field)
        assert (own is None) == (field not in found), field
        if own is not None:
            np.testing.assert_allclose(found[field], own, rtol=1e-9, atol=1e-12, err_msg=field)


@pytest.mark.parametrize("rule", ["mean", "logits", "label logits", "gaussian"])
def test_members_are_pooled_as_by_the_api(rule: Any) -> None:
    answers = np.random.default_rng(1).normal(0, 5, (3, 5, 4)).astype(np.float32)
    answers[1, 2, 0] = np.inf
    found = pooled_answer([tf.constant(one) for one in answers], rule)
    np.testing.assert_allclose(found, members.pooled_answer(answers, rule), rtol=1e-6)


@pytest.mark.parametrize(("classes", "width"), [(None, 2), ("probabilities", 1), ("probabilities", 3), ("logits", 1)])
def test_members_without_noise(classes: Any, width: int) -> None:
    answer = passes_of("classification", classes or "values", width)[0]
    own, found = members.still(answer, classes, keep_passes=False), still_moments(tf.constant(answer), classes)
    np.testing.assert_allclose(found.mean, own.mean[0])
    assert (found.probabilities is None) == (own.probabilities is None)
    if own.probabilities is not None and own.entropy is not None:
        np.testing.assert_allclose(found.probabilities, own.probabilities[0])
        np.testing.assert_allclose(found.entropy, own.entropy[0], rtol=1e-9)
