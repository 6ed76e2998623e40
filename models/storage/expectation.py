"""Recorded answers that a model must give again before it is stored."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.compat.messages import message_of
from thinned.models.errors import ModelFileError, ThinnedError, UnsupportedModelError

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["TOLERANCE", "Expectation", "read_expectation"]

Array = npt.NDArray[Any]

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest recorded number of the output."""


class Expectation:
    """Inputs and the answers that were recorded for them.

    Args:
        path: The file that they come from, for messages.
        arrays: By name: each input (`x` will do for a single one) and each output (`y` for a single one).
    """

    def __init__(self, path: Path, arrays: Mapping[str, Array]) -> None:
        self._path = path
        self._arrays = arrays

    def check(self, model: StochasticModel) -> None:
        """Hold the model's deterministic answer against what was recorded.

        Raises:
            UnsupportedModelError: Arrays are missing or do not fit, or an output differs by more than `TOLERANCE` of
                its largest recorded number.
        """
        inputs = self._named([one.name for one in model.inputs], "x")
        recorded = self._named([one.name for one in model.outputs], "y")
        rows = {one.name: inputs[one.name].astype(one.dtype) for one in model.inputs}
        try:
            answers = model.predict(rows)
        except ThinnedError as error:
            raise UnsupportedModelError(f"{self._path}: the model does not take its inputs: {error}") from error
        except Exception as error:  # whatever Keras and TensorFlow raise on rows of another shape
            raise UnsupportedModelError(
                f"{self._path}: the model does not take its inputs: {message_of(error)}; expected rows first, in the "
                "shape that the model names"
            ) from error
        for name, expected in recorded.items():
            self._compare(name, expected, np.asarray(answers[name]))

    def _compare(self, name: str, expected: Array, received: Array) -> None:
        if expected.shape != received.shape:
            raise UnsupportedModelError(
                f"{self._path}: the output {name!r} was recorded as {_shape(expected)}, and the model answers "
                f"{_shape(received)}; record the answer of model.predict(x) for the same rows"
            )
        if not (np.isfinite(expected).all() and np.isfinite(received).all()):
            raise UnsupportedModelError(f"{self._path}: the output {name!r} is not finite, recorded or answered")
        largest = float(np.abs(expected).max(initial=0.0))
        difference = float(np.abs(received.astype("float64") - expected).max(initial=0.0))
        if difference > TOLERANCE * (largest or 1.0):
            raise UnsupportedModelError(
                f"the answer {name!r} differs from {self._path.name} by up to {difference:.3g}, where the largest "
                f"recorded number is {largest:.3g} and {TOLERANCE:g} of that is allowed; look at the scaling of the "
                "inputs, whether the record was made with training=False, and layers whose meaning changed between "
                "versions of Keras"
            )

    def _named(self, names: Sequence[str], single: str) -> dict[str, Array]:
        if all(name in self._arrays for name in names):
            return {name: self._arrays[name] for name in names}
        if len(names) == 1 and single in self._arrays:
            return {names[0]: self._arrays[single]}
        either = f" (or {single})" if len(names) == 1 else ""
        raise UnsupportedModelError(
            f"{self._path}: expected arrays named {', '.join(names)}{either}, received "
            f"{', '.join(self._arrays) or 'none'}"
        )


def read_expectation(path: Path) -> Expectation:
    """Read recorded inputs and answers.

    Args:
        path: A `.npz` of numbers; nothing pickled in it is read.

    Raises:
        ModelFileError: There is no such file, or it is of another kind.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise ModelFileError(f"{path} holds one array; expected a .npz with inputs and outputs, as numpy.savez")
            arrays = {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise ModelFileError(
            f"{path}: {error.strerror or error}; pass a .npz of inputs and outputs to --expect"
        ) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path}: expected numbers saved with numpy.savez ({str(error).splitlines()[0][:120]})"
        ) from error
    wrong = [name for name, array in arrays.items() if array.dtype.kind not in "fiub" or array.ndim == 0]
    if wrong:
        raise ModelFileError(f"{path}: its array {wrong[0]!r} is not rows of numbers")
    return Expectation(path, arrays)


def _shape(array: Array) -> str:
    return "×".join(map(str, array.shape))
