"""How much memory a stored model takes once it is loaded, as far as its file tells."""

from __future__ import annotations

import zipfile

from thinned.models.storage.stored_model import MODEL_FILE, StoredModel

__all__ = ["GRAPHS", "loaded_bytes", "weights_bytes"]

GRAPHS = 64 << 20
"""Bytes of what is traced. Measured on 2026-11-28: 75 MiB for the first model of a process, nothing for a second."""
_COPIES = 2
"""Of the weights. Measured: 351 MiB for 183 MiB of weights; a copy from loading stays with the process."""


def loaded_bytes(stored: StoredModel) -> int:
    """Bytes that a process takes for it, once it is loaded and its graphs are traced."""
    return _COPIES * weights_bytes(stored) + GRAPHS


def weights_bytes(stored: StoredModel) -> int:
    """Bytes of its weights and what else stands in its file, unpacked; 0 where the file cannot be read."""
    try:
        with zipfile.ZipFile(stored.path / MODEL_FILE) as archive:
            return sum(info.file_size for info in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return 0  # What loads it says what is wrong with it.
