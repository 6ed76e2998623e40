"""What an answer says of each output, as tensors of a graph: the counterpart of `OutputAnswer` in an exported file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from thinned.models.card import OutputSpec
from thinned.models.export.streamed_passes import OutputMoments
from thinned.models.sampling import Made
from thinned.models.uncertainty.decomposition import MOST_LOG_VARIANCE
from thinned.models.uncertainty.members import PoolRule

__all__ = ["answers_of", "pooled_answer", "still_moments"]

Tensor = Any
_TINY = 1e-12


def answers_of(
    spec: OutputSpec, moments: Sequence[OutputMoments], made: Sequence[Made], count: Tensor
) -> dict[str, Tensor]:
    """What passes say of one output, float64; names and shapes are those of the API.

    Args:
        spec: The output, with the temperature that calibration found.
        moments: Of the model; of an ensemble those of all members.
        made: What mean and variance of each of these are made of.
        count: Scalar int64, passes.
    """
    passes = tf.cast(count, tf.float64)
    own = tf.stack([_variance(one, how, passes) for one, how in zip(moments, made, strict=True)])
    means = tf.stack([one.mean for one in moments])
    mean, within = tf.reduce_mean(means, axis=0), tf.reduce_mean(own, axis=0)
    found: dict[str, Tensor] = {"mean": mean, "variance": within}
    if len(moments) > 1:
        between = tf.math.reduce_variance(means, axis=0)
        found |= {"variance": within + between, "variance_within": within, "variance_between": between}
    probabilities = entropy = None
    if all(one.probabilities is not None for one in moments):
        probabilities = tf.reduce_mean(tf.stack([one.probabilities for one in moments]), axis=0) / passes
        entropy = tf.reduce_mean(tf.stack([one.entropy for one in moments]), axis=0) / passes
    return found | _of_classes(spec, mean, probabilities, entropy)


def _variance(moments: OutputMoments, made: Made, passes: Tensor) -> Tensor:
    """Variance of a pass, ddof=1."""
    spread = tf.maximum(moments.deviations, 0.0) / tf.maximum(passes - 1.0, 1.0)
    if moments.within is None:
        return spread
    return moments.within / passes if made == "exact" else spread + moments.within / passes


def _of_classes(spec: OutputSpec, mean: Tensor, probabilities: Tensor | None, entropy: Tensor | None) -> dict[str, Any]:
    """Entropies, and mean probabilities with the temperature and without, as far as the output has them."""
    found: dict[str, Tensor] = {}
    if probabilities is not None and entropy is not None:
        predictive = entropy_of(probabilities)
        expected = tf.minimum(entropy, predictive)
        found = {
            "predictive_entropy": predictive,
            "expected_entropy": expected,
            "mutual_information": predictive - expected,
        }
    if spec.task not in ("classification", "multilabel"):
        return found
    if spec.scale == "probabilities":
        plain, name = mean, "mean"
    elif probabilities is not None:
        plain, name = (probabilities[..., 1:] if spec.shape[-1] == 1 else probabilities), "mean_probabilities"
        found[name] = plain
    else:
        return found
    temperature = spec.calibration.temperature if spec.calibration is not None else None
    if temperature is None:
        return found
    single = spec.task == "multilabel" or spec.shape[-1] == 1
    pairs = tf.stack([1.0 - plain, plain], axis=-1) if single else plain
    tempered = tf.nn.softmax(tf.math.log(tf.clip_by_value(pairs, _TINY, 1.0)) / temperature)
    found |= {name: tempered[..., 1] if single else tempered, f"plain_{name}": plain}
    if "predictive_entropy" in found:
        found["plain_predictive_entropy"] = found["predictive_entropy"]
        # Of a single unit the last axis, of length 1, is that of classes.
        found["predictive_entropy"] = entropy_of(tempered[..., 0, :] if single else tempered)
    return found


def entropy_of(probabilities: Tensor) -> Tensor:
    """In nats, of the classes on the last axis; rounding just outside [0, 1] is clipped."""
    inside = tf.clip_by_value(probabilities, tf.zeros([], probabilities.dtype), tf.ones([], probabilities.dtype))
    return -tf.reduce_sum(tf.math.xlogy(inside, inside), axis=-1) + 0.0


def still_moments(answer: Tensor, classes: str | None) -> OutputMoments:
    """Those of a member that draws nothing: one pass, its deterministic answer, says it all."""
    mean = tf.cast(answer, tf.float64)
    if classes is None:
        return OutputMoments(mean, tf.zeros_like(mean), None, None, tf.zeros_like(mean))
    single = mean.shape[-1] == 1
    if classes == "probabilities":
        probs = tf.concat([1.0 - mean, mean], axis=-1) if single else mean
    else:
        probs = tf.nn.softmax(tf.concat([tf.zeros_like(mean), mean], axis=-1) if single else mean)
    probs = tf.clip_by_value(probs, tf.zeros([], tf.float64), tf.ones([], tf.float64))
    return OutputMoments(mean, tf.zeros_like(mean), probs, entropy_of(probs), tf.zeros_like(mean))


def pooled_answer(answers: Sequence[Tensor], rule: PoolRule) -> Tensor:
    """The deterministic answers of all members as one, of the same dtype: `members.pooled_answer` in a graph."""
    values = tf.cast(tf.stack(answers), tf.float64)
    pooled = tf.cast(_pooled(values, rule), answers[0].dtype)
    if not pooled.dtype.is_floating:
        return pooled
    finite = tf.reduce_all(tf.math.is_finite(values), axis=0)
    return tf.where(finite, pooled, tf.constant(float("nan"), pooled.dtype))


def _pooled(values: Tensor, rule: PoolRule) -> Tensor:
    several = tf.math.log(tf.constant(float(values.shape[0]), tf.float64))
    if rule == "logits":
        sums = tf.reduce_logsumexp(values, axis=-1, keepdims=True)
        return tf.reduce_logsumexp(values - sums, axis=0) - several + tf.reduce_mean(sums, axis=0)
    if rule == "label logits":
        return tf.reduce_logsumexp(-tf.math.softplus(-values), axis=0) - tf.reduce_logsumexp(
            -tf.math.softplus(values), axis=0
        )
    if rule == "gaussian":
        means, logs = tf.split(values, 2, axis=-1)
        logs = tf.clip_by_value(logs, -MOST_LOG_VARIANCE, MOST_LOG_VARIANCE)
        return tf.concat([tf.reduce_mean(means, axis=0), tf.reduce_logsumexp(logs, axis=0) - several], axis=-1)
    return tf.reduce_mean(values, axis=0)


def named(answers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by the names of a signature: fields alone of one output, "OUTPUT/FIELD" of several."""
    if len(answers) == 1:
        return dict(next(iter(answers.values())))
    return {f"{output}/{field}": tensor for output, fields in answers.items() for field, tensor in fields.items()}
