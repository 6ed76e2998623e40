"""The passes of a model against Keras's own draws: is the variance that is served the variance that Keras has?

Keras's own draws are calls with `training=True` in which every layer with a state of its own (normalisation and its
like) is held in inference, as Monte Carlo dropout wants it. They are made eagerly, layer by layer, so that noise which
a graph would freeze (NumPy's, Python's) is drawn anew. What differs from the passes of the engine is noise that is
missing, or drawn otherwise, whatever its source.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy.special import ndtri

from thinned.models.compat.keras import flatten_layers, non_trainable_variables
from thinned.models.compat.messages import message_of
from thinned.models.dropout.batching import BatchItem
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.errors import UnsupportedModelError
from thinned.models.sampling import BLOCK

__all__ = ["CALL_BYTES", "Gap", "check_against_keras", "find_gaps"]

Array = npt.NDArray[Any]
DRAWS = 1000
LEAST_DRAWS = 200
ERRORS = 5.0
"""Standard errors by which the two may differ."""
_SECONDS = 12.0
_ROWS_AT_ONCE = 100
CALL_BYTES = 256 << 20
"""What a call of Keras may keep: it holds the outputs of all layers until it ends."""
_MOST_UNITS = 2048
_SEED = 20160602
_ROUNDING = 1e-3
_HALF_ROUNDING = 5e-2


class Gap(NamedTuple):
    """An output whose passes are not Keras's own draws: which moment differs, both values, and by how many errors."""

    output: str
    moment: str
    ours: float
    keras: float
    errors: float


def check_against_keras(model: StochasticModel, inputs: Mapping[str, Array]) -> None:
    """Refuse a model whose passes have another mean or variance than Keras's own draws.

    Raises:
        UnsupportedModelError: They have; names the output and both values.
    """
    for gap in find_gaps(model, inputs):
        raise UnsupportedModelError(
            f"The model cannot be served, because over its passes the {gap.moment} of the output {gap.output!r} is "
            f"{gap.ours:.4g}, and over Keras's own draws with training=True {gap.keras:.4g}, {gap.errors:.0f} standard "
            "errors apart. Some of its noise is missing here, or is drawn otherwise: look for a layer that draws by "
            "NumPy or Python, or whose registered noise is not its own, and say how it draws with "
            "thinned.register_noise in the module given by --module."
        )


def find_gaps(model: StochasticModel, inputs: Mapping[str, Array]) -> list[Gap]:
    """Where the passes of a row are not Keras's own draws of it.

    A gap that is seen once is looked for again, with other seeds and with one call for each draw: noise that the rows
    of a batch share makes rows that were drawn in one call depend on each other.

    Args:
        model: The model.
        inputs: By input name, (B, *input_shape); the first row is used.
    """
    model = model.apart
    if not model.sites:
        return []
    row = {name: x[:1] for name, x in inputs.items()}
    found = _gaps(model, row, rows_at_once=_rows_at_once(model), seed=_SEED)
    return _gaps(model, row, rows_at_once=1, seed=_SEED + 1) if found else []


def _rows_at_once(model: StochasticModel) -> int:
    """Copies of the row that one call of Keras draws."""
    return max(1, min(_ROWS_AT_ONCE, model.row_passes, CALL_BYTES // model.bytes_of_a_call))


def _gaps(model: StochasticModel, row: Mapping[str, Array], *, rows_at_once: int, seed: int) -> list[Gap]:
    try:
        with kept_variables(model.keras_model), _held_still(model, row):
            theirs = _keras_draws(model, row, rows_at_once=rows_at_once)
    except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
        raise UnsupportedModelError(
            f"Keras itself cannot call the model with training=True, so its passes have nothing to be compared with: "
            f"{message_of(error)} Check it with model(x, training=True) on rows of your data."
        ) from error
    # Stratified, as they are served: over 1,000 passes that lowers the sample variance by less than a thousandth.
    ours = _our_draws(model, row, max(len(drawn) for drawn in theirs.values()), seed)
    rounding = _HALF_ROUNDING if model.half_precision else _ROUNDING
    gaps = []
    for name, drawn in theirs.items():
        own = ours[name]
        if np.isfinite(own).all() and np.isfinite(drawn).all():
            gaps += _compare(name, own, drawn, rounding)
    return gaps


def _keras_draws(model: StochasticModel, row: Mapping[str, Array], *, rows_at_once: int) -> dict[str, Array]:
    """Draws of the row by Keras itself, (S, units) by output; fewer where a call takes long."""
    tensors = [keras.ops.convert_to_tensor(np.repeat(x, rows_at_once, axis=0)) for x in model.flat(row)]
    kept: dict[str, list[Array]] = {output.name: [] for output in model.outputs}
    began = time.monotonic()
    calls = math.ceil(DRAWS / rows_at_once)
    for call in range(calls):
        outputs = keras.tree.flatten(model.graphs.signature.call(tensors, True))
        for name, tensor in zip(kept, outputs, strict=True):
            kept[name].append(_units(np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))))
        if (call + 1) * rows_at_once >= LEAST_DRAWS and time.monotonic() - began > _SECONDS:
            break
    return {name: np.concatenate(draws) for name, draws in kept.items()}


def _our_draws(model: StochasticModel, row: Mapping[str, Array], count: int, seed: int) -> dict[str, Array]:
    """Passes of the row, (S, units) by output name, drawn in pieces of which only the units are kept."""
    frontier = model.prefix(row)
    kept: dict[str, list[Array]] = {output.name: [] for output in model.outputs}
    step = max(BLOCK, min(model.row_passes, DRAWS) // BLOCK * BLOCK)
    for first in range(0, count, step):
        item = BatchItem(1, seed, first, min(step, count - first), frontier=frontier, keep_passes=True)
        for name, statistics in model.draw([item], estimator="passes")[0].items():
            if statistics.passes is not None:
                kept[name].append(_units(statistics.passes[:, 0]))
    return {name: np.concatenate(draws) for name, draws in kept.items()}


def _units(draws: Array) -> Array:
    """Draws as (S, units), float64; of very many units some, evenly spread."""
    flat = np.asarray(draws).reshape(len(draws), -1)
    return flat[:, :: max(1, -(-flat.shape[1] // _MOST_UNITS))].astype(np.float64)


def _compare(name: str, ours: Array, theirs: Array, rounding: float) -> list[Gap]:
    """The total variance over all units, and the mean of each, in standard errors of both together."""
    scale = max(float(np.abs(theirs).max(initial=0.0)), 1e-30)
    (own, own_error), (other, other_error) = _total_variance(ours), _total_variance(theirs)
    if max(own, other) <= ours.shape[1] * (1e-6 * scale) ** 2:  # saturated: nothing but rounding
        return []
    gaps = []
    error = math.hypot(own_error, other_error)
    difference = abs(own - other) - rounding * max(own, other)
    if difference > ERRORS * error:
        gaps.append(Gap(name, "variance", own, other, difference / max(error, 1e-300)))
    means = ours.mean(axis=0), theirs.mean(axis=0)
    errors = np.sqrt(ours.var(axis=0, ddof=1) / len(ours) + theirs.var(axis=0, ddof=1) / len(theirs))
    # As rare over all units together as ERRORS for one.
    allowed = -ndtri(2.9e-7 / ours.shape[1]) * errors + rounding * scale
    worst = int(np.argmax(np.abs(means[0] - means[1]) - allowed))
    if abs(means[0][worst] - means[1][worst]) > allowed[worst]:
        away = abs(means[0][worst] - means[1][worst]) / max(float(errors[worst]), 1e-300)
        gaps.append(Gap(name, "mean", float(means[0][worst]), float(means[1][worst]), float(away)))
    return gaps


def _total_variance(draws: Array) -> tuple[float, float]:
    """Sample variance summed over units, and its standard error."""
    squares = ((draws - draws.mean(axis=0)) ** 2).sum(axis=1)
    count = len(draws)
    return float(squares.sum() / (count - 1)), float(squares.std(ddof=1) / math.sqrt(count))


@contextmanager
def _held_still(model: StochasticModel, row: Mapping[str, Array]) -> Iterator[None]:
    """Have layers whose state a call with `training=True` would change run in inference; augmentation stays off."""
    layers = [layer for layer in flatten_layers(model.keras_model) if not isinstance(layer, keras.Model)]
    dormant = list(model.graphs.sites.dormant)
    with patched(model.keras_model, dormant, lambda source: NoNoise()):
        states = [[v for v in non_trainable_variables(layer) if "seed_generator" not in v.path] for layer in layers]
        before = [[variable.numpy() for variable in state] for state in states]
        with kept_variables(model.keras_model):  # a spectral normalisation also changes the kernel that it wraps
            model.graphs.signature.call([keras.ops.convert_to_tensor(x) for x in model.flat(row)], True)
            moved = {
                id(layer)
                for layer, state, old in zip(layers, states, before, strict=True)
                if any(not np.array_equal(v.numpy(), o) for v, o in zip(state, old, strict=True))
            }

    def still(layer: Any) -> Callable[..., Any]:
        call: Callable[..., Any] = layer.call
        if id(layer) not in moved:
            return call

        def inference(*args: Any, training: bool | None = None, **kwargs: Any) -> Any:
            return call(*args, training=False, **kwargs)

        return inference

    with patched(model.keras_model, dormant, lambda source: NoNoise(), also=still):
        yield
