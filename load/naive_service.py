"""The baseline of a sweep: a BentoML service that loops over `model(x, training=True)` inside one `tf.function`.

It serves the same model and answers in the same format as the service, so that the two can be compared under the same
load. Do not use it for anything else: `training=True` also makes batch normalisation use the statistics of the batch
and update its moving averages, the seed is copied into the answer but has no effect, and inputs are not checked.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml
import numpy as np

from thinned.models.compat.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402 - after import_tensorflow, which hides what TensorFlow prints

from thinned.models.storage.model_store import find, load_keras  # noqa: E402
from thinned.models.uncertainty import entropy, probabilities  # noqa: E402

__all__ = ["NaiveService"]


@bentoml.service(logging={"access": {"enabled": False}})
class NaiveService:
    """Serves the stored model that THINNED_MODEL names."""

    def __init__(self) -> None:
        stored = find(os.environ.get("THINNED_MODEL", "digits"))
        self.card, self.version = stored.card, stored.version
        self.keras_model = load_keras(stored)
        self._predict = tf.function(lambda x: self.keras_model(x, training=False), reduce_retracing=True)
        self._sample = tf.function(self._loop, reduce_retracing=True, autograph=False)

    @bentoml.api
    def predict(self, inputs: Any) -> dict[str, Any]:
        """The deterministic answer, `model(x, training=False)`."""
        outputs = self._by_name(self._predict(self._read(inputs)))
        lists = {name: value.numpy().tolist() for name, value in outputs.items()}
        return {"outputs": self._unwrap_single(lists), **self._model_entry()}

    @bentoml.api
    def predict_mc(self, inputs: Any, n_samples: int = 32, seed: int = 0) -> dict[str, Any]:
        """Mean, variance and standard error over `n_samples` calls; for a classification also the entropies in nats."""
        outputs = self._by_name(self._sample(self._read(inputs), tf.constant(n_samples)))
        by_field: dict[str, dict[str, Any]] = {}
        for spec in self.card.outputs:
            passes = outputs[spec.name].numpy().astype(np.float64)
            variance = passes.var(axis=0, ddof=1)
            error = np.sqrt(variance / n_samples)
            found = {"mean": passes.mean(axis=0), "variance": variance, "standard_error": error}
            if spec.task == "classification" and spec.scale != "values":
                probs = probabilities(passes, spec.scale)
                total, expected = entropy(probs.mean(axis=0)), entropy(probs).mean(axis=0)
                found |= {"predictive_entropy": total, "expected_entropy": expected}
                found["mutual_information"] = total - expected
            for name, array in found.items():
                by_field.setdefault(name, {})[spec.name] = array.tolist()
        answer = {name: self._unwrap_single(by_output) for name, by_output in by_field.items()}
        return {**answer, "n_samples": n_samples, "seed": seed, **self._model_entry()}

    def _loop(self, x: Any, n_samples: Any) -> Any:
        """All passes of each output, (S, B, ...), by calling the model `n_samples` times in a row."""
        dtypes = [tensor.dtype for tensor in tf.nest.flatten(self.keras_model.outputs)]
        passes = [tf.TensorArray(dtype, size=n_samples) for dtype in dtypes]

        def step(i: Any, arrays: list[Any]) -> tuple[Any, list[Any]]:
            outputs = tf.nest.flatten(self.keras_model(x, training=True))
            return i + 1, [array.write(i, output) for array, output in zip(arrays, outputs, strict=True)]

        # parallel_iterations=1: steps that run in parallel would hold the activations of all of them in memory.
        _, passes = tf.while_loop(lambda i, _: i < n_samples, step, [tf.constant(0), passes], parallel_iterations=1)
        return [array.stack() for array in passes]

    def _read(self, inputs: Any) -> Any:
        given = inputs if isinstance(inputs, dict) else {self.card.inputs[0].name: inputs}
        dtypes: list[Any] = [object if spec.dtype == "string" else spec.dtype for spec in self.card.inputs]
        named = zip(self.card.inputs, dtypes, strict=True)
        arrays = [tf.constant(np.asarray(given[spec.name], dtype=dtype)) for spec, dtype in named]
        return arrays[0] if len(arrays) == 1 else arrays

    def _by_name(self, outputs: Any) -> dict[str, Any]:
        flat = tf.nest.flatten(outputs)
        return {spec.name: value for spec, value in zip(self.card.outputs, flat, strict=True)}

    @staticmethod
    def _unwrap_single(by_output: dict[str, Any]) -> Any:
        return by_output if len(by_output) > 1 else next(iter(by_output.values()))

    def _model_entry(self) -> dict[str, Any]:
        return {"model": {"name": self.card.name, "version": self.version}}
