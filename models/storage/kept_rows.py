"""A few rows of the user's data, kept beside a model to check it on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.models.storage.stored_model import ROWS_FILE, StoredModel, digest, verify

__all__ = ["load_rows", "write_rows"]


def write_rows(folder: Path, card: ModelCard, rows: Mapping[str, npt.NDArray[Any]] | None) -> ModelCard:
    """Write them, by the number of their input: a name need not be one for a file. Returns the card that names them."""
    if rows is None:
        return card
    path = folder / ROWS_FILE
    # Strings as NumPy's own: an array of Python objects would be a pickle.
    arrays: dict[str, Any] = {
        str(i): x.astype(str) if (x := rows[spec.name]).dtype == object else x for i, spec in enumerate(card.inputs)
    }
    np.savez_compressed(path, **arrays)
    return card.model_copy(update={"rows_sha256": digest(path)})


def load_rows(stored: StoredModel) -> dict[str, npt.NDArray[Any]] | None:
    """The rows that were kept beside a model, by input name; None where none were given.

    Raises:
        ModelCorruptError: The file is missing or is not the one that was stored.
    """
    if stored.card.rows_sha256 is None:
        return None
    path = stored.path / ROWS_FILE
    verify(stored, path, stored.card.rows_sha256)
    with np.load(path, allow_pickle=False) as arrays:
        rows = {spec.name: arrays[str(i)] for i, spec in enumerate(stored.card.inputs)}
    return {name: x.astype(object) if x.dtype.kind == "U" else x for name, x in rows.items()}
