"""The folder of a run: what run it is, the parts that are done, rejected rows; every file whole or not there.

`_run.json` says what run it is, `part-000000.parquet` and so on hold the answers, `_rejects/` the rejected rows of each
part and `_rejects.csv` those of all, `_done.json` that all are there. Readers of data sets pass over names with "_".
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from thinned.models.errors import UsageError
from thinned.service.cli.scoring.data_set import Part

__all__ = ["REJECT_FIELDS", "RunFolder", "write_whole"]

REJECT_FIELDS = ("row", "place", "key", "reason")
_RUN, _DONE, _LOCK = "_run.json", "_done.json", "_lock"
_REJECTS, _ALL_REJECTS = "_rejects", "_rejects.csv"
_UNFINISHED = ".unfinished-"


class RunFolder:
    """The folder of one run.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rejects = path / _ALL_REJECTS

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other runs on this machine out of it.

        Raises:
            UsageError: Another run is writing to it, or it cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("w")
        except FileExistsError:
            raise UsageError(f"--output {self.path} is a file; name a folder") from None
        except OSError as error:
            raise UsageError(f"--output {self.path}: nothing can be written there ({error.strerror})") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"--output {self.path}: another run is writing there; let it end, or name another folder"
                ) from None
            yield

    def asked_before(self) -> dict[str, Any] | None:
        """What run the folder is of; None where it is new.

        Raises:
            UsageError: It holds other files.
        """
        if not self.path.is_dir():
            return None
        try:
            read = json.loads((self.path / _RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            others = [path.name for path in self.path.iterdir() if path.name != _LOCK and _UNFINISHED not in path.name]
            if others:
                told = ", ".join(sorted(others)[:3])
                raise UsageError(
                    f"--output {self.path} is not empty ({told}), and holds no run of thinned score; name a new folder"
                ) from None
            return None
        except (OSError, ValueError) as error:
            raise UsageError(f"--output {self.path}: {_RUN} cannot be read ({error}); name a new folder") from error
        if not isinstance(read, dict):
            raise UsageError(f"--output {self.path}: {_RUN} is not one of thinned score; name a new folder")
        return read

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Note what run it is, or see that it is this one, and remove what a killed one left half written.

        Raises:
            UsageError: It is another; says by what.
        """
        before = self.asked_before()
        wanted = json.loads(json.dumps(identity))
        if before is None:
            write_whole(self.path / _RUN, lambda file: file.write(json.dumps(identity, indent=1).encode()))
        elif before != wanted:
            differ = [n for n in dict.fromkeys((*wanted, *before)) if wanted.get(n) != before.get(n)]
            told = ", ".join(_told_of_both(name, before.get(name), wanted.get(name)) for name in differ[:4])
            raise UsageError(
                f"--output {self.path} holds another run of thinned score: {told}; name another folder, or ask as then"
            )
        for place in (self.path, self.path / _REJECTS):
            for left in place.glob(f"*{_UNFINISHED}*") if place.is_dir() else ():
                left.unlink(missing_ok=True)

    def part(self, part: Part) -> Path:
        """The file of a part's answers: where it is there, the part is done."""
        return self.path / f"part-{part.number:06}.parquet"

    def done(self, parts: Sequence[Part]) -> list[Part]:
        """The parts that are done."""
        there = {path.name for path in self.path.glob("part-*.parquet")}
        return [part for part in parts if self.part(part).name in there]

    def write_rejects(self, part: Part, rejects: Sequence[Sequence[object]]) -> None:
        """Write the rejected rows of a part, by `REJECT_FIELDS`; to be done before its answers."""
        path = self._rejects_of(part)
        if not rejects:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        write_whole(path, lambda file: file.write(_csv(rejects)))

    def rejected(self, part: Part) -> int:
        """How many rows of a part that is done were rejected.

        Raises:
            UsageError: Its file is not as it was written.
        """
        import pyarrow
        from pyarrow import parquet

        try:
            return part.rows - int(parquet.read_metadata(self.part(part)).num_rows)
        except pyarrow.ArrowException as error:
            raise UsageError(
                f"{self.part(part)} was changed since it was written ({str(error)[:60]}); remove it, and give the same "
                "command again"
            ) from error

    def finish(self, parts: Sequence[Part], summary: Mapping[str, Any]) -> None:
        """Write the rejected rows of all parts to one file, and that all is done."""

        def joined(file: IO[bytes]) -> None:
            file.write(_csv([REJECT_FIELDS]))
            for part in parts:
                if (path := self._rejects_of(part)).exists():
                    with path.open("rb") as one:
                        shutil.copyfileobj(one, file)

        if summary["rejected"]:
            write_whole(self.rejects, joined)
        write_whole(self.path / _DONE, lambda file: file.write(json.dumps(summary, indent=1).encode()))

    @property
    def was_finished(self) -> bool:
        """Whether all was done before; parts may have been removed since."""
        return (self.path / _DONE).exists()

    def _rejects_of(self, part: Part) -> Path:
        return self.path / _REJECTS / f"part-{part.number:06}.csv"


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under another name and put it in its place by one rename, once it is on the disk.

    Raises:
        OSError: It cannot be written, and nothing is left of it. Names the file.
    """
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}{socket.gethostname()}-{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _told_of_both(name: str, before: object, wanted: object) -> str:
    if name == "input":
        return "other data (names, lengths or times of change of the files of --input)"
    return f"{name} {_told(before)}, not {_told(wanted)}"


def _told(value: object) -> str:
    return "none" if value is None else str(value)[:80]
