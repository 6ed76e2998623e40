"""What `thinned evaluate` and `thinned calibrate` start from: a loaded model, one of its outputs, rows and answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.storage.model_store import StoredModel, find
from thinned.service.cli.data_files import read_grouped
from thinned.service.cli.options import choose_output

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["Labelled", "load_labelled"]


class Labelled(NamedTuple):
    """A loaded model, the output that is meant, and rows whose answers are known."""

    stored: StoredModel
    model: StochasticModel
    spec: OutputSpec
    inputs: dict[str, npt.NDArray[Any]]
    targets: npt.NDArray[Any]
    groups: npt.NDArray[Any] | None = None


def load_labelled(
    name: str, data: Path, *, target: str | None, output: str | None, group: str | None = None
) -> Labelled:
    """Read the rows, then load the model, which takes seconds.

    Args:
        name: The model, "name" or "name:version".
        data: A table, or a `.npz`, of rows and their answers.
        target: The array or column of answers.
        output: Which output, where the model has several.
        group: The array or column that says which rows belong together.

    Raises:
        ThinnedError: There is no such model or output, or the file does not fit it.
    """
    stored = find(name)
    spec = choose_output(stored.card, output)
    inputs, targets, groups = read_grouped(data, stored.card.inputs, target, group)
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    from thinned.models.loading import load_stored

    return Labelled(stored, load_stored(stored), spec, inputs, targets, groups)
