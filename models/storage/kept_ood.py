"""What tells rows unlike the calibration rows, kept beside a model."""

from __future__ import annotations

from thinned.models.storage.stored_model import OOD_FILE, StoredModel, verify
from thinned.models.uncertainty.nearest_rows import NearestRows

__all__ = ["load_ood", "ood_bytes"]


def ood_bytes(stored: StoredModel) -> bytes | None:
    """The file as it is; None where the model has none.

    Raises:
        ModelCorruptError: The file is missing or is not the one that was stored.
    """
    if stored.card.ood is None:
        return None
    verify(stored, stored.path / OOD_FILE, stored.card.ood.sha256)
    return (stored.path / OOD_FILE).read_bytes()


def load_ood(stored: StoredModel) -> NearestRows | None:
    """What it holds; arguments and errors are those of `ood_bytes`."""
    content = ood_bytes(stored)
    return None if content is None else NearestRows.from_bytes(content)
