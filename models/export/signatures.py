"""The functions that an exported file offers: passes, the deterministic answer, and the passes themselves."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from thinned.models.card import OutputSpec
from thinned.models.dropout.compiled_graphs import GraphKey
from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.errors import ExportError
from thinned.models.export.answers import answers_of, named, pooled_answer, still_moments
from thinned.models.export.streamed_passes import streamed_moments, streamed_samples
from thinned.models.sampling import SEEDS, Estimator, Made, Sampling

__all__ = ["DEFAULT_PASSES", "DEFAULT_SEED", "LEAST_PASSES", "PASSES", "PREDICT", "SAMPLE", "ExportedFunctions"]

Tensor = Any
PASSES, PREDICT, SAMPLE = "serving_default", "predict", "sample"
DEFAULT_PASSES, DEFAULT_SEED = 100, 0
LEAST_PASSES = 2
_OWN = ("n_samples", "seed")


@dataclass(frozen=True)
class ExportedFunctions:
    """The functions of one model, and what its inputs are called in their signatures.

    Args:
        model: The model.
        outputs: Its outputs, with what calibration has found.
        sampling: How passes relate to each other.
        estimator: How mean and variance are made of them.
        asserts: Whether a run with a wrong number of passes, or seed, is refused; else it answers NaN.
        deterministic: The concrete function of the model without noise, where it is not the model's own.
    """

    model: StochasticModel
    outputs: Sequence[OutputSpec]
    sampling: Sampling = "stratified"
    estimator: Estimator = "best"
    asserts: bool = True
    deterministic: Any = None

    @property
    def keys(self) -> dict[str, str]:
        """By name of an input what it is called in a signature, where letters, digits and "_" alone are allowed.

        Raises:
            ExportError: Two would be called the same, or one as the passes or the seed.
        """
        keys = {spec.name: _key(spec.name) for spec in self.model.inputs}
        taken = Counter([*keys.values(), *_OWN])
        for name, key in keys.items():
            if taken[key] > 1:
                raise ExportError(
                    f"The input {name!r} would be called {key!r} in the exported file, as another is; the names "
                    f"{' and '.join(_OWN)} are taken. Give the inputs other names (keras.Input(..., name=...)), save "
                    "the model and import it again."
                )
        return keys

    @property
    def _plain(self) -> Any:
        return self.model.deterministic if self.deterministic is None else self.deterministic

    def traced(self) -> dict[str, Any]:
        """The functions by name of their signature, each traced. A model without passes has the plain answer alone."""
        # Found by running the model, which cannot be done while a graph is traced.
        self.model.closed_forms, self.model.row_passes  # noqa: B018
        predict = self._function(self._predict, passes=False)
        if not self.model.has_passes:
            return {PASSES: predict, PREDICT: predict}
        found = {PASSES: self._function(self._passes, passes=True), PREDICT: predict}
        if self.model.sites:
            found[SAMPLE] = self._function(self._sample, passes=True)
        return found

    def _function(self, body: Callable[..., dict[str, Tensor]], *, passes: bool) -> Any:
        keys = list(self.keys.values())
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=key) for spec, key in zip(self.model.tensors, keys, strict=True)
        ]
        parameters = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in keys]
        if passes:
            # Tensors as defaults: TensorFlow writes them into the signature, for servers to fill in.
            for name, dtype, default in zip(_OWN, (tf.int32, tf.int64), (DEFAULT_PASSES, DEFAULT_SEED), strict=True):
                specs.append(tf.TensorSpec([], dtype, name=name))
                kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
                parameters.append(inspect.Parameter(name, kind, default=tf.constant(default, dtype)))

        def function(*tensors: Tensor) -> dict[str, Tensor]:
            if self.asserts:  # TensorFlow itself does not look, and a convolution answers images of any size
                tensors = tuple(tf.ensure_shape(x, spec.shape) for x, spec in zip(tensors, specs, strict=True))
            if not passes:
                return body(*tensors)
            *inputs, count, seed = tensors
            with tf.control_dependencies(_checks(count, seed) if self.asserts else []):
                answers = body(*inputs, tf.cast(count, tf.int64), tf.identity(seed))
            return answers if self.asserts else _nan_unless(_fits(count, seed), answers)

        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        found = tf.function(function, input_signature=specs, autograph=False)
        found.get_concrete_function()
        return found

    def _predict(self, *inputs: Tensor) -> dict[str, Tensor]:
        answers = list(self._plain(*inputs))
        pooling = self.model.pooling
        if pooling is not None:
            several = len(pooling.rules)
            answers = [pooled_answer(answers[i::several], rule) for i, rule in enumerate(pooling.rules.values())]
        return {spec.name: tf.identity(x) for spec, x in zip(self.outputs, answers, strict=True)}

    def _passes(self, *tensors: Tensor) -> dict[str, Tensor]:
        *inputs, count, seed = tensors
        model, several = self.model, len(self.outputs)
        if not model.sites:
            count = tf.ones_like(count)
            each = zip(self._plain(*inputs), model.graphs.classes, strict=True)
            moments = [still_moments(answer, classes) for answer, classes in each]
            made: list[Made] = ["exact"] * len(moments)
        else:
            key = GraphKey("from_frontier", self.sampling)
            if self.estimator == "best" and model.closed_forms:
                key = key._replace(masks="not the last")
            if model.needs_no_pass(self.estimator, keep_passes=False):
                count, seed = tf.ones_like(count), tf.zeros_like(seed)
            moments = streamed_moments(model, inputs, count, seed, key=key)
            made = list(model.closed_forms.made)
        return named(
            {
                spec.name: answers_of(spec, moments[i::several], made[i::several], count)
                for i, spec in enumerate(self.outputs)
            }
        )

    def _sample(self, *tensors: Tensor) -> dict[str, Tensor]:
        *inputs, count, seed = tensors
        several = len(self.outputs)
        passes = streamed_samples(self.model, inputs, count, seed, sampling=self.sampling)
        return {spec.name: _member_by_member(passes[i::several]) for i, spec in enumerate(self.outputs)}


def _key(name: str) -> str:
    key = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return key if key[:1].isalpha() else f"input_{key}"


def _fits(count: Tensor, seed: Tensor) -> Tensor:
    return (count >= LEAST_PASSES) & (seed >= 0) & (seed < SEEDS)


def _checks(count: Tensor, seed: Tensor) -> list[Any]:
    """Operations that end a run with numbers that the API does not take."""
    passes = f"n_samples: expected an integer of {LEAST_PASSES} or more"
    return [
        tf.debugging.assert_greater_equal(count, LEAST_PASSES, passes, summarize=1),
        tf.debugging.assert_equal(
            (seed >= 0) & (seed < SEEDS), True, "seed: expected an integer from 0 to 2**53 - 1", summarize=1
        ),
    ]


def _nan_unless(fits: Tensor, answers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tf.where(fits, x, tf.constant(float("nan"), x.dtype)) if x.dtype.is_floating else x
        for name, x in answers.items()
    }


def _member_by_member(passes: Sequence[Tensor]) -> Tensor:
    """(S, B, ...) of each member as (S * M, B, ...), pass by pass."""
    if len(passes) == 1:
        return tf.identity(passes[0])
    laid = tf.stack(passes, axis=1)
    return tf.reshape(laid, tf.concat([[-1], tf.shape(passes[0])[1:]], axis=0))
