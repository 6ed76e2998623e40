"""Folders beside the store in which versions are built and deleted; those that a crash left behind are swept."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["DELETED", "STAGING", "left_behind", "sweep", "temporary_folder"]

STAGING, DELETED = "thinned-staging-", "thinned-deleted-"
_OWNER = "owner"
_OLD_SECONDS, _VERY_OLD_SECONDS = 3600.0, 24 * 3600.0


@contextmanager
def temporary_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A folder that says which process owns it, and goes at the end."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as name:
        folder = Path(name)
        (folder / _OWNER).write_text(f"{socket.gethostname()} {os.getpid()}", encoding="utf-8")
        yield folder


def sweep(place: Path) -> list[Path]:
    """Delete what processes that are gone have left.

    A folder goes where its owner ran on this machine and is gone; one that names no owner of this machine, such as that
    of another container on a shared disk, goes where nothing in it was changed for an hour. Where a process of the
    owner's number runs it stays for a day: the number may have been given to another since.

    Returns:
        What was deleted.
    """
    left = left_behind(place)
    for path in left:
        shutil.rmtree(path, ignore_errors=True)  # another process may sweep too
    return left


def left_behind(place: Path) -> list[Path]:
    """What `sweep` would delete."""
    found = [path for prefix in (STAGING, DELETED) for path in place.glob(f"{prefix}*") if path.is_dir()]
    return sorted(path for path in found if not path.is_symlink() and _left_behind(path))


def _left_behind(folder: Path) -> bool:
    age = _OLD_SECONDS
    with suppress(OSError, ValueError):
        host, pid = (folder / _OWNER).read_text(encoding="utf-8").split()
        if host == socket.gethostname():
            if not _lives(int(pid)):
                return True
            age = _VERY_OLD_SECONDS
    try:
        newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return False  # it goes just now
    return time.time() - newest > age


def _lives(pid: int) -> bool:
    """Whether a process runs; one of another user does, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
