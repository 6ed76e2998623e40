"""What people write today: BentoML, and a loop over `model(x, training=True)` inside one compiled function.

The same model and the same answers as the service gives, so that the two can be measured side by side. It is a fair
baseline and no service to use: `training=True` also makes batch normalisation use, and change, its statistics; a seed
is repeated in the answer and does nothing; nothing is checked.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml
import numpy as np

from thinned.models.compat.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402 - quietly, by the line above

from thinned.models.storage.model_store import find, load_keras  # noqa: E402
from thinned.models.uncertainty import entropy, probabilities  # noqa: E402

__all__ = ["NaiveService"]


@bentoml.service(logging={"access": {"enabled": False}})
class NaiveService:
    """Serves the model that THINNED_MODEL names."""

    def __init__(self) -> None:
        stored = find(os.environ.get("THINNED_MODEL", "digits"))
        self.card, self.version = stored.card, stored.version
        self.model = load_keras(stored)
        self.plain = tf.function(lambda x: self.model(x, training=False), reduce_retracing=True)
        self.passes = tf.function(self._loop, reduce_retracing=True, autograph=False)

    @bentoml.api
    def predict(self, inputs: Any) -> dict[str, Any]:
        """The answer of `model(x, training=False)`."""
        outputs = self._named(self.plain(self._read(inputs)))
        return {"outputs": self._bare({name: value.numpy().tolist() for name, value in outputs.items()}), **self._who()}

    @bentoml.api
    def predict_mc(self, inputs: Any, n_samples: int = 32, seed: int = 0) -> dict[str, Any]:
        """Mean and variance over `n_samples` calls of the model."""
        outputs = self._named(self.passes(self._read(inputs), tf.constant(n_samples)))
        parts: dict[str, dict[str, Any]] = {}
        for spec in self.card.outputs:
            passes = outputs[spec.name].numpy().astype(np.float64)
            variance = passes.var(axis=0, ddof=1)
            error = np.sqrt(variance / n_samples)
            found = {"mean": passes.mean(axis=0), "variance": variance, "standard_error": error}
            if spec.task == "classification":
                probs = probabilities(passes, spec.scale)
                total, expected = entropy(probs.mean(axis=0)), entropy(probs).mean(axis=0)
                found |= {"predictive_entropy": total, "expected_entropy": expected}
                found["mutual_information"] = total - expected
            for name, array in found.items():
                parts.setdefault(name, {})[spec.name] = array.tolist()
        answer = {name: self._bare(by_output) for name, by_output in parts.items()}
        return {**answer, "n_samples": n_samples, "seed": seed, **self._who()}

    def _loop(self, x: Any, n_samples: Any) -> Any:
        """All passes, (S, B, ...) of each output: one call of the model after the other."""
        kinds = [tensor.dtype for tensor in tf.nest.flatten(self.model.outputs)]
        found = [tf.TensorArray(kind, size=n_samples) for kind in kinds]

        def step(i: Any, arrays: list[Any]) -> tuple[Any, list[Any]]:
            outputs = tf.nest.flatten(self.model(x, training=True))
            return i + 1, [array.write(i, output) for array, output in zip(arrays, outputs, strict=True)]

        # One at a time: a loop whose steps may run beside each other holds all their activations at once.
        _, found = tf.while_loop(lambda i, _: i < n_samples, step, [tf.constant(0), found], parallel_iterations=1)
        return [array.stack() for array in found]

    def _read(self, inputs: Any) -> Any:
        given = inputs if isinstance(inputs, dict) else {self.card.inputs[0].name: inputs}
        arrays = [tf.constant(np.asarray(given[spec.name], dtype=spec.dtype)) for spec in self.card.inputs]
        return arrays[0] if len(arrays) == 1 else arrays

    def _named(self, outputs: Any) -> dict[str, Any]:
        flat = tf.nest.flatten(outputs)
        return {spec.name: value for spec, value in zip(self.card.outputs, flat, strict=True)}

    @staticmethod
    def _bare(by_output: dict[str, Any]) -> Any:
        return by_output if len(by_output) > 1 else next(iter(by_output.values()))

    def _who(self) -> dict[str, Any]:
        return {"model": {"name": self.card.name, "version": self.version}}
