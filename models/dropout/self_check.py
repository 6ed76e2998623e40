"""Check the laws on the very model that is to be served, on its example rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.dropout.string_rows import padding_hint
from thinned.models.errors import UnsupportedModelError
from thinned.models.sampling import BLOCK

__all__ = ["ALL_THE_SAME", "check_laws", "check_rows", "check_untouched", "check_weights"]

Array = npt.NDArray[Any]
_ROWS = 3
_TOLERANCE = 1e-4
_HALF_TOLERANCE = 3e-2
_MOST_TOLERANCE = 1e-2
_MARGIN = 4.0
_PASSES = (4, 64, 1024)
ALL_THE_SAME = "all the same even right behind the sites"
"""In what is noted of a model whose sites met nothing but zeros."""


def check_laws(model: StochasticModel) -> tuple[str, ...]:
    """Check that answers repeat, that rows do not see each other, and that passes differ.

    No call computes more rows x passes than `model.row_passes`, as when serving.

    It also traces every graph that answers need, so that no request waits for one.

    Returns:
        What holds, but a person should know.

    Raises:
        UnsupportedModelError: A law does not hold for this model; the text says which.
    """
    check_rows(model)
    return _check_passes(model.apart) if model.sites else ()


def check_rows(model: StochasticModel) -> None:
    """Check that a deterministic answer repeats, and that each row has its own.

    Raises:
        UnsupportedModelError: One of the two does not hold for this model.
    """
    model, inputs = model.apart, model.examples.rows(_ROWS)
    one = {name: x[1:2] for name, x in inputs.items()}
    answer = model.predict(inputs)
    for name, values in answer.items():
        if values.shape[0] != _ROWS:
            raise UnsupportedModelError(
                f"Output '{name}' has {values.shape[0]} rows for {_ROWS} rows of input: expected one answer a row."
            )
    _require(_equal(answer, model.predict(inputs)), "the deterministic answer does not repeat bit for bit")
    _require(
        _close(model, {k: v[1:2] for k, v in answer.items()}, model.predict(one), scale_of=answer),
        "the answer to a row depends on the other rows of its request: look for a mean, a sort, a normalisation or a "
        "reshape over the first axis" + padding_hint(model.keras_model),
    )


def _check_passes(model: StochasticModel) -> tuple[str, ...]:
    inputs, few = model.examples.rows(_ROWS), _PASSES[0]
    one = {name: x[1:2] for name, x in inputs.items()}
    passes = model.sample(inputs, n_samples=few, seed=1)
    again = model.sample(inputs, n_samples=few, seed=1)
    _require(_equal(passes, again), "the same seed does not give the same passes")
    # At least the few, however wide the model: there must be something to compare.
    count = max(few, min(BLOCK + few, model.row_passes // _ROWS))
    more = model.sample(inputs, n_samples=count, seed=1, row_passes=_ROWS * count)
    blocks = model.sample(inputs, n_samples=BLOCK + few, seed=1, row_passes=min(_ROWS * BLOCK, model.row_passes))
    first = {name: values[:few] for name, values in more.items()}
    again = {name: values[:count] for name, values in blocks.items()}
    _require(
        _close(model, passes, first) and _close(model, more, again),
        "a pass comes out otherwise when others are drawn beside it: rows of a batch depend on each other (a mean, a "
        "sort, a normalisation or a reshape over the first axis)",
    )
    plain = model.summary(inputs, n_samples=few, seed=1, estimator="passes")
    means = {name: values.mean for name, values in plain.items()}
    averages = {name: values.astype(np.float64).mean(axis=0) for name, values in passes.items()}
    _require(_close(model, averages, means), "the mean that is served is not the mean of the passes")
    alone = model.sample(one, n_samples=few, seed=1)
    _require(
        _close(model, {k: v[:, 1:2] for k, v in passes.items()}, alone, scale_of=passes),
        "the passes of a row depend on the other rows of its request: look for a mean, a sort, a normalisation or a "
        "reshape over the first axis" + padding_hint(model.keras_model),
    )
    if any(np.ptp(values, axis=0).max() > 0 for values in passes.values()):
        return ()
    for count in _PASSES[1:]:  # sums of that many equal numbers are exact, so that their variance is 0
        found = model.summary(inputs, n_samples=count, seed=1, estimator="passes")
        if any(values.variance.max() > 0 for values in found.values()):
            return ()
    if model.differs_at_sites(inputs, n_samples=_PASSES[-1], seed=1):
        return (
            f"On the rows that were tried the passes differ behind the sites, but all {_PASSES[-1]} give the same "
            "outputs to float precision: expect a variance of 0 wherever the network is this saturated, or is not "
            "trained yet.",
        )
    paths = ", ".join(site.path for site in model.sites)
    if all(site.rate is not None and site.rate >= 1 for site in model.sites):
        raise UnsupportedModelError(
            f"The model has sites ({paths}), but {_PASSES[-1]} passes were all the same even right behind "
            "them: its variance would be 0. Check that no rate is 1."
        )
    return (
        f"On the rows that were tried {_PASSES[-1]} passes were {ALL_THE_SAME} ({paths}): "
        "the units that meet them are all 0. If that is so for rows of your data too (thinned import --data), the "
        "variance is 0, as Keras's own is.",
    )


def check_weights(keras_model: Any) -> None:
    """Refuse a model one of whose variables holds NaN: training diverged, or the file is damaged.

    Raises:
        UnsupportedModelError: Names the variable.
    """
    for variable in keras_model.variables:
        value = np.asarray(keras.ops.convert_to_numpy(variable))
        if value.dtype.kind not in "biuOSU" and np.isnan(value.astype(np.float64)).any():
            raise UnsupportedModelError(
                f"The variable '{variable.path}' of the model holds NaN, so that no answer would be a number. Train it "
                "again (a smaller learning rate, clipnorm), or import an earlier checkpoint."
            )


def check_untouched(model: StochasticModel, keras_model: Any) -> tuple[str, ...]:
    """Check that the deterministic answer is Keras's own, and that drawing passes leaves every variable as it was.

    Returns:
        What holds, but a person should know.

    Raises:
        UnsupportedModelError: One of the two does not hold for this model.
    """
    model, inputs = model.apart, model.examples.rows(_ROWS)
    before = [variable.numpy() for variable in keras_model.variables]
    own, answer = model.reference(inputs), model.predict(inputs)
    noted: tuple[str, ...] = ()
    if not any(site.forced for site in model.sites) and not _close(model, own, answer):
        with kept_variables(keras_model, trainable=False):
            first, second = model.reference(inputs, keep_seeds=False), model.reference(inputs, keep_seeds=False)
        _require(not _close(model, first, second), "the deterministic answer is not Keras's own")
        noted = (
            "Keras's own answers differ from call to call: a layer draws even when the model only predicts. "
            "Deterministic answers leave that off, as register_noise says.",
        )
    if model.sites:
        model.sample(inputs, n_samples=_PASSES[0], seed=0)
    same = (np.array_equal(old, new.numpy()) for old, new in zip(before, keras_model.variables, strict=True))
    _require(all(same), "answering changes a variable of the model")
    return noted


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise UnsupportedModelError(f"The model cannot be served, because {broken}.")


def _equal(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


def _close(
    model: StochasticModel,
    a: Mapping[str, Array],
    b: Mapping[str, Array],
    *,
    scale_of: Mapping[str, Array] | None = None,
) -> bool:
    """Equal to rounding, relative to the largest value: kernels round differently for other numbers of rows.

    `scale_of` holds more rows than `a`, where those are few: an answer near 0 is a difference of large numbers.
    """
    # The deeper a network, the further rounding drifts: 200 layers lie at 8e-5 where 10 lie at 1e-6.
    grown = min(_MOST_TOLERANCE, _MARGIN * model.rounding)
    tolerance = max(_HALF_TOLERANCE if model.half_precision else _TOLERANCE, grown)
    for name in a:
        x, y = np.asarray(a[name], np.float64), np.asarray(b[name], np.float64)
        whole = x if scale_of is None else np.asarray(scale_of[name], np.float64)
        scale = np.abs(whole[np.isfinite(whole)]).max(initial=0.0)
        if x.shape != y.shape or not np.allclose(x, y, rtol=0.0, atol=tolerance * scale + 1e-12, equal_nan=True):
            return False
    return True
