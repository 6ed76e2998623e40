"""Measure the delta method beside passes: variance from one gradient at the plain network, without a single pass.

A factor m of mean 1 and variance c meets h at each site. To first order the output moves by (m - 1) h dy/dh, so that
its variance is the sum over all units of c (h dy/dh)^2. `python -m thinned.loadtest.studies.first_order` trains some
networks and prints, for each, the quartiles over held-out rows of that variance as a share of the variance of 2,000
passes. What was found, and why it is not offered, stands in `docs/passes.md`.

References:
    Wang & Manning 2013, Fast dropout training, ICML (the same expansion, for training).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.noise.factors import Factors
from thinned.models.dropout.noise.noise_context import Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import NoiseShape, SiteLayer
from thinned.models.errors import UnsupportedModelError

__all__ = ["Shares", "first_order_variance", "main"]

Array = npt.NDArray[Any]
Tensor = Any
PASSES = 2000
ROWS = 60
RATES = (0.05, 0.1, 0.3, 0.5)


class Shares(NamedTuple):
    """Quartiles, over rows and numbers of the output, of first-order variance over that of passes."""

    low: float
    median: float
    high: float


class _Site(NoNoise):
    """The provider of a site whose factors stay 1, and are told."""

    draws = True
    context: NoiseContext | None = None

    def __init__(self, number: int) -> None:
        self._number = number

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None if self.context is None else self.context.draw(self._number)

    def narrow(self) -> bool:
        return self.context is not None and not self.context.wide


class _Nothing(frozenset[Any]):
    """All calls: none is drawn."""

    def __contains__(self, call: object) -> bool:
        return True


def first_order_variance(model: StochasticModel, inputs: dict[str, Array]) -> Array:
    """The delta method's variance of the only output, (B, K).

    Args:
        model: A model of one output, whose sites all multiply by factors of mean 1.
        inputs: Rows.

    Raises:
        UnsupportedModelError: A site does something else, or shares its factors along an axis.
    """
    graphs, sites = model.graphs, []

    def provider_of(source: SiteLayer) -> NoNoise:
        number = graphs.sites.numbers.get(id(source))
        if number is None:
            return NoNoise()
        sites.append(_Site(number))
        return sites[-1]

    @tf.function(autograph=False)
    def variance(head: Tensor, *flat: Tensor) -> Tensor:
        context = NoiseContext(
            RandomWords(head[2:3]),
            first=head[3:4],
            count=tf.constant(1),
            rows=tf.cast(head[0], tf.int32),
            sampling="independent",
            layouts=graphs.sites.layouts,
            factors=Factors(off=_Nothing()),
        )
        for site in sites:
            site.context = context
        (output,) = graphs.runner.suffix(context, graphs.runner.prefix(flat))
        met = [one for several in context.factors.met.values() for one in several]
        if len(met) < len(context.noisy) or not met or any(any(one.shared) for one in met):
            raise UnsupportedModelError("not all sites multiply each unit by a factor of its own")
        output = tf.reshape(output, [tf.shape(output)[0], -1])

        def of_one(k: Tensor) -> Tensor:
            slopes = tf.gradients(tf.gather(output, k, axis=1), [one.after for one in met])
            moved = [one.variance * tf.square(one.after * slope) for one, slope in zip(met, slopes, strict=True)]
            return tf.add_n([tf.reduce_sum(tf.reshape(x, [tf.shape(output)[0], -1]), axis=1) for x in moved])

        return tf.stack([of_one(tf.constant(k)) for k in range(output.shape[1])], axis=1)

    with patched(model.keras_model, graphs.sites.sources, provider_of):
        flat = [tf.constant(x) for x in model.flat(inputs)]
        found: Array = variance(tf.constant(run_arguments(len(flat[0]), 1, 0, 0)), *flat).numpy()
    return found


def shares(model: StochasticModel, inputs: dict[str, Array]) -> Shares:
    """The delta method beside `PASSES` passes."""
    passes = model.sample(inputs, n_samples=PASSES, seed=1, sampling="independent")
    (values,) = passes.values()
    spread = values.reshape(*values.shape[:2], -1).var(axis=0, ddof=1, dtype=np.float64)
    known = spread > 1e-3 * spread.max()  # A share of nothing says nothing.
    low, median, high = np.percentile((first_order_variance(model, inputs) / spread)[known], [25, 50, 75]).tolist()
    return Shares(low, median, high)


def _regressions() -> Iterator[tuple[str, Any, Array]]:
    import keras
    from keras import layers

    from thinned.models.examples import diabetes

    data = diabetes.data()
    mean, deviation = data.x_train.mean(axis=0), data.x_train.std(axis=0)
    for hidden in (1, 3):
        for rate in RATES:
            keras.utils.set_random_seed(0)
            x = inputs = keras.Input(data.x_train.shape[1:])
            for _ in range(hidden):
                x = layers.Dropout(rate)(layers.Dense(64, "relu")(x))
            model = keras.Model(inputs, layers.Dense(1)(x))
            model.compile("adam", "mse")
            y = (data.y_train - data.y_train.mean()) / data.y_train.std()
            model.fit((data.x_train - mean) / deviation, y, epochs=60, batch_size=32, verbose=0)
            yield f"regression, {hidden} hidden, r = {rate}", model, (data.x_test - mean) / deviation


def _classifications() -> Iterator[tuple[str, Any, Array]]:
    import keras
    from keras import layers

    from thinned.models.examples import digits

    data = digits.data()
    for rate in RATES:
        for end in ("softmax", "logits"):
            keras.utils.set_random_seed(0)
            x = inputs = keras.Input((8, 8, 1))
            x = layers.Flatten()(layers.Rescaling(1 / 16)(x))
            for _ in range(2):
                x = layers.Dropout(rate)(layers.Dense(128, "relu")(x))
            model = keras.Model(inputs, layers.Dense(10, "softmax" if end == "softmax" else None)(x))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=end == "logits")
            model.compile("adam", loss)
            model.fit(data.x_train, data.y_train, epochs=15, batch_size=32, verbose=0)
            yield f"digits, {end}, r = {rate}", model, data.x_test


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table.

    Args:
        argv: Arguments of the command line; None for those of this process.

    Returns:
        0.
    """
    argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.first_order", description=__doc__).parse_args(argv)
    print("| network | 25 % | median | 75 % |\n| --- | --- | --- | --- |")
    for networks in (_regressions, _classifications):
        for name, keras_model, x in networks():
            model = enable_mc_dropout(keras_model)
            rows = {model.inputs[0].name: np.asarray(x[:ROWS], np.float32)}
            print(f"| {name} | " + " | ".join(f"{share:.2f}" for share in shares(model, rows)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
