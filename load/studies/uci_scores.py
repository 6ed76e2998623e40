"""Score trained networks with Monte Carlo passes, through Keras models and the project's own engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.loadtest.studies.uci_data import Fold

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["Sampler", "Score", "log_likelihoods", "score"]

Array = npt.NDArray[np.float64]
_ROW_PASSES = 65_536
_PASSES_HELD = 4_000_000


class Sampler:
    """One Keras network a dropout rate, stochastic once; the weights of a network are put in before it is asked."""

    def __init__(self, inputs: int, hidden: int) -> None:
        self._shape = inputs, hidden
        self._stochastic: dict[float, tuple[Any, StochasticModel]] = {}

    def model(self, rate: float, weights: Sequence[npt.NDArray[Any]]) -> Any:
        """The ordinary Keras model with these weights: dropout before the hidden layer and before the output."""
        return self._with(rate, weights)[0]

    def answers(self, rate: float, weights: Sequence[npt.NDArray[Any]], x: Array) -> Array:
        """Deterministic answers to standardised rows, (B,)."""
        stochastic = self._with(rate, weights)[1]
        return stochastic.predict({"x": x.astype(np.float32)})["y"][:, 0].astype(np.float64)

    def passes(self, rate: float, weights: Sequence[npt.NDArray[Any]], x: Array, *, count: int, seed: int) -> Array:
        """Passes over standardised rows, (S, B)."""
        stochastic = self._with(rate, weights)[1]
        made = np.empty((count, len(x)))
        rows = {"x": x.astype(np.float32)}
        for piece in stochastic.sample_blocks(rows, n_samples=count, seed=seed, budget=_ROW_PASSES):
            values = piece.outputs["y"][..., 0]
            made[piece.first : piece.first + len(values), piece.rows] = values
        return made

    def _with(self, rate: float, weights: Sequence[npt.NDArray[Any]]) -> tuple[Any, StochasticModel]:
        if rate not in self._stochastic:
            self._stochastic[rate] = self._build(rate)
        model, stochastic = self._stochastic[rate]
        model.set_weights(list(weights))
        return model, stochastic

    def _build(self, rate: float) -> tuple[Any, StochasticModel]:
        import keras
        from keras import layers

        from thinned.models.dropout import enable_mc_dropout

        inputs, hidden = self._shape
        x = keras.Input((inputs,), name="x")
        met = layers.Dense(hidden, activation="relu")(layers.Dropout(rate)(x))
        model = keras.Model(x, layers.Dense(1, name="y")(layers.Dropout(rate)(met)))
        return model, enable_mc_dropout(model)


class Score(NamedTuple):
    """Errors in units of the target: of the plain answer, of a pass (root mean square over all) and of their mean."""

    rmse_plain: float
    rmse_one: float
    rmse: float
    log_likelihood: float


def log_likelihoods(passes: Array, targets: Array, taus: Array) -> Array:
    """Sum over targets of the log-likelihood under the mixture about the passes, for each precision of the noise.

    logsumexp_s(-tau / 2 (y - y_s)^2) - log S - log(2 pi) / 2 + log(tau) / 2, all in units of the target (Gal &
    Ghahramani 2016, equation 8).

    Args:
        passes: (S, B), in units of the target.
        targets: (B,).
        taus: (T,).

    Returns:
        (T,).
    """
    from scipy.special import logsumexp

    squares = ((passes - targets) ** 2).astype(np.float32)
    found = [logsumexp(np.float32(-0.5 * tau) * squares, axis=0).sum(dtype=np.float64) for tau in taus]
    constant = 0.5 * np.log(taus) - 0.5 * np.log(2 * np.pi) - np.log(len(passes))
    each: Array = np.asarray(found) + constant * len(targets)
    return each


def score(
    sampler: Sampler,
    rate: float,
    weights: Sequence[npt.NDArray[Any]],
    fold: Fold,
    taus: Array,
    *,
    count: int,
    seed: int,
) -> tuple[Score, Array]:
    """Score a network on a fold's held-out rows.

    Returns:
        The score, with the log-likelihood of the best of `taus`; and the mean log-likelihood of each.
    """
    x_held, total = fold.standardised()[2], len(fold.y_held)
    centre, scale = fold.target_scale
    squares, each = np.zeros(3), np.zeros(len(taus))
    step = max(1, _PASSES_HELD // count)
    for rows in (slice(start, start + step) for start in range(0, total, step)):
        truth = fold.y_held[rows]
        passes = sampler.passes(rate, weights, x_held[rows], count=count, seed=seed) * scale + centre
        plain = sampler.answers(rate, weights, x_held[rows]) * scale + centre
        each += log_likelihoods(passes, truth, taus)
        apart = plain - truth, passes - truth, passes.mean(axis=0) - truth
        squares += [float((each_one**2).sum()) / (len(passes) if each_one.ndim > 1 else 1) for each_one in apart]
    plain_error, one_error, error = np.sqrt(squares / total).tolist()
    return Score(plain_error, one_error, error, float(each.max()) / total), each / total
