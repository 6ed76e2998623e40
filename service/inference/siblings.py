"""The workers of one service, as one of them sees the others: who is ready, and which version all of them serve.

They share a folder that only this service has. Each holds a lock on a file of its own as long as it lives, which the
system lets go however it ends; what stands in the file says whether it is ready. Without the folder, or without such
locks (Windows), a worker stands alone.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

__all__ = ["Siblings"]

_READY = "ready"


class Siblings:
    """One worker's view of the others.

    Args:
        folder: What the workers share; None for a worker that stands alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if sys.platform == "win32" else folder
        self._own: IO[str] | None = None
        self._version = "version"

    def beside(self, place: int) -> Siblings:
        """The same workers, asked for the version of another of their models: by its place, 0 for the first."""
        other = copy.copy(self)
        other._version = f"version-{place}" if place else "version"
        return other

    def join(self) -> None:
        """Say that this worker is there. Where the folder cannot be written, it stands alone."""
        if self._folder is None:
            return
        try:
            self._own = (self._folder / f"{os.getpid()}.worker").open("w")
            fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._folder = None

    def leave(self) -> None:
        """Say that this worker is there no longer."""
        if self._own is not None:
            with suppress(OSError):
                Path(self._own.name).unlink()
            self._own.close()
            self._own = None

    def tell(self, *, ready: bool) -> None:
        """Say whether this worker answers requests."""
        if self._own is not None:
            with suppress(OSError):  # A full disk stops no answer; the others then count on themselves.
                self._own.seek(0)
                self._own.truncate()
                self._own.write(_READY if ready else "")
                self._own.flush()

    def one_is_ready(self) -> bool:
        """Whether another worker lives and is ready."""
        return any(_text(path) == _READY for path in self._others())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all others that live."""
        for path in self._others():
            with suppress(OSError):
                os.kill(int(path.stem), number)

    @property
    def version(self) -> str | None:
        """The model that all serve, name:version; None until one of them has said."""
        return None if self._folder is None else _text(self._folder / self._version) or None

    def agree_on(self, tag: str, *, now: bool = False) -> None:
        """Have workers that start from now on serve this; the first that says so, unless it is `now` exchanged."""
        if self._folder is None:
            return
        beside = self._folder / f"{self._version}.{os.getpid()}"
        with suppress(OSError):
            beside.write_text(tag)
            if now:
                beside.replace(self._folder / self._version)
            else:
                with suppress(FileExistsError):
                    (self._folder / self._version).hardlink_to(beside)
                beside.unlink()

    def _others(self) -> list[Path]:
        if self._folder is None:
            return []
        own = f"{os.getpid()}.worker"
        try:
            return [path for path in self._folder.glob("*.worker") if path.name != own and _is_held(path)]
        except OSError:
            return []


def _is_held(path: Path) -> bool:
    """Whether the worker that holds the lock on this file lives; what a dead one left is removed."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    with suppress(OSError):
        path.unlink()
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
