"""Score the trained UCI networks over Monte Carlo passes, as Keras models run by this project's engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.loadtest.studies.uci_data import Fold

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["NetworkSampler", "Score", "log_likelihoods", "score"]

Array = npt.NDArray[np.float64]
_ROW_PASSES = 65_536
_ROW_PASSES_HELD = 4_000_000


class NetworkSampler:
    """One Keras model for each dropout rate; the weights of a trained network are set before each call.

    Args:
        inputs: Columns of the inputs.
        hidden: Units of the hidden layer.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        self._shape = inputs, hidden
        self._models: dict[float, StochasticModel] = {}

    def answers(self, rate: float, weights: Sequence[npt.NDArray[Any]], x: Array) -> Array:
        """Deterministic answers to standardised rows, (B,)."""
        model = self._with_weights(rate, weights)
        return model.predict({"x": x.astype(np.float32)})["y"][:, 0].astype(np.float64)

    def passes(self, rate: float, weights: Sequence[npt.NDArray[Any]], x: Array, *, count: int, seed: int) -> Array:
        """Passes over standardised rows, (S, B)."""
        model = self._with_weights(rate, weights)
        rows = {"x": x.astype(np.float32)}
        drawn = model.sample(rows, n_samples=count, seed=seed, row_passes=_ROW_PASSES)
        return drawn["y"][..., 0].astype(np.float64)

    def _with_weights(self, rate: float, weights: Sequence[npt.NDArray[Any]]) -> StochasticModel:
        if rate not in self._models:
            self._models[rate] = self._build(rate)
        self._models[rate].keras_model.set_weights(list(weights))
        return self._models[rate]

    def _build(self, rate: float) -> StochasticModel:
        """Dropout before the hidden layer and before the output."""
        import keras
        from keras import layers

        from thinned.models.dropout import enable_mc_dropout

        inputs, hidden = self._shape
        x = keras.Input((inputs,), name="x")
        units = layers.Dense(hidden, activation="relu")(layers.Dropout(rate)(x))
        return enable_mc_dropout(keras.Model(x, layers.Dense(1, name="y")(layers.Dropout(rate)(units))))


class Score(NamedTuple):
    """RMSE in units of the target: of the deterministic answer, of single passes, of their mean; and log-likelihood."""

    rmse_plain: float
    rmse_one: float
    rmse: float
    log_likelihood: float


def log_likelihoods(passes: Array, targets: Array, taus: Array) -> Array:
    """Log-likelihood of the targets, summed over them, for each precision tau of the noise.

    The predictive density is a mixture of normal distributions about the S passes y_s, with precision tau:
    logsumexp_s(-tau / 2 (y - y_s)^2) - log S - log(2 pi) / 2 + log(tau) / 2.

    Args:
        passes: (S, B), in units of the target.
        targets: (B,).
        taus: (T,).

    Returns:
        In nats, (T,).

    References:
        Gal & Ghahramani 2016, Dropout as a Bayesian Approximation, equation 8, https://arxiv.org/abs/1506.02142
    """
    from scipy.special import logsumexp

    squares = ((passes - targets) ** 2).astype(np.float32)
    found = [logsumexp(np.float32(-0.5 * tau) * squares, axis=0).sum(dtype=np.float64) for tau in taus]
    constant = 0.5 * np.log(taus) - 0.5 * np.log(2 * np.pi) - np.log(len(passes))
    each: Array = np.asarray(found) + constant * len(targets)
    return each


def score(
    sampler: NetworkSampler,
    rate: float,
    weights: Sequence[npt.NDArray[Any]],
    fold: Fold,
    taus: Array,
    *,
    count: int,
    seed: int,
) -> tuple[Score, Array]:
    """Score a network on a fold's held-out rows.

    Args:
        sampler: Runs the network.
        rate: Its dropout rate.
        weights: Its weights, in Keras's order.
        fold: Its rows.
        taus: Precisions of the noise, (T,), in units of the target.
        count: Number of passes.
        seed: Of the passes.

    Returns:
        The score, with the log-likelihood of the best of `taus`, and the mean log-likelihood of each, (T,).
    """
    x_held, total = fold.standardised()[2], len(fold.y_held)
    centre, scale = fold.target_scale
    squares, each = np.zeros(3), np.zeros(len(taus))
    step = max(1, _ROW_PASSES_HELD // count)
    for rows in (slice(start, start + step) for start in range(0, total, step)):
        truth = fold.y_held[rows]
        passes = sampler.passes(rate, weights, x_held[rows], count=count, seed=seed) * scale + centre
        plain = sampler.answers(rate, weights, x_held[rows]) * scale + centre
        each += log_likelihoods(passes, truth, taus)
        errors = plain - truth, passes - truth, passes.mean(axis=0) - truth
        squares += [float((error**2).sum()) / (len(passes) if error.ndim > 1 else 1) for error in errors]
    rmse_plain, rmse_one, rmse = np.sqrt(squares / total).tolist()
    return Score(rmse_plain, rmse_one, rmse, float(each.max()) / total), each / total
