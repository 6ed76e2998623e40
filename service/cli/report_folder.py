"""A folder that a report is written to: checked before the work, and then written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from thinned.models.errors import UsageError

__all__ = ["check_folder", "write_whole"]


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse, before anything is computed, a folder that could not be written.

    Args:
        folder: It need not be there yet.
        option: What it was given with.

    Raises:
        UsageError: It is a file, or it may not be made or written to.
    """
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            raise UsageError(f"{option} {folder}: expected a folder, {there} is a file; name another")
        with tempfile.TemporaryFile(dir=there):
            pass
        folder.mkdir(parents=True, exist_ok=True)
        if there != folder:
            _remove_empty(folder, there)
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: it cannot be written ({error.strerror or error}); name another"
        ) from error


def write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, which is made where it is missing; other files in it stay.

    They are written beside the folder's own first, and moved into their places when all are there.

    Args:
        folder: Where to.
        files: Content by name; the last is put in its place last.

    Raises:
        OSError: They cannot be written; what was there before is as it was.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as name:
            for file, content in files.items():
                (Path(name) / file).write_bytes(content)
            for file in files:
                (Path(name) / file).replace(folder / file)
    except BaseException:
        _remove_empty(folder, there)
        raise


def _remove_empty(folder: Path, there: Path) -> None:
    """Remove a folder that was made, with the parents that were made for it, where nothing is in them."""
    for place in (folder, *folder.parents):
        if place == there or any(place.iterdir()):
            return
        place.rmdir()
