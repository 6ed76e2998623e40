"""The files of a data set, by a path or an address of fsspec: which there are, opening them, what tells of a change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from thinned.models.errors import UsageError
from thinned.service.cli.column_files import wrong_file
from thinned.service.cli.options import require_extra

__all__ = ["KINDS", "DataFile", "digest_of", "files_of", "is_below", "kind_of", "open_file", "shown"]

KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".npz": "npz",
    ".png": "images",
    ".jpg": "images",
    ".jpeg": "images",
}
"""By a name's ending what a file holds."""

_CHANGED = ("mtime", "ETag", "etag", "LastModified", "last_modified", "updated", "created")
"""What file systems call that which differs when a file does."""
_EXTRAS = {"s3": "s3", "s3a": "s3"}
"""The extra that brings what reads addresses of a scheme."""


@dataclass(frozen=True)
class DataFile:
    """One file: its name below the data set's address, its path for the file system, its bytes, and its change."""

    name: str
    path: str
    size: int
    changed: str


def files_of(address: str) -> list[DataFile]:
    """The files that belong to a data set, in the order of their names.

    Args:
        address: Of a file, or of a folder, in which files whose name, or a folder's above, begins with "_" or "." are
            left out, and so are those that end in none of `KINDS`.

    Raises:
        UsageError: What reads such addresses is not installed.
        InputError: There is nothing to read there.
    """
    if address == "-":
        raise UsageError("--input expects a file, a folder or an address; standard input cannot be read a second time")
    system, path = _system(address)
    try:
        infos = system.find(path, detail=True) if system.isdir(path) else {path: system.info(path)}
    except FileNotFoundError:
        raise wrong_file(address, "no such file or folder; pass one that is there") from None
    except Exception as error:
        raise wrong_file(address, f"it cannot be read ({_short(error)})") from error
    root = path.rstrip("/") + "/"
    found = [
        DataFile(name.removeprefix(root) if name.startswith(root) else PurePosixPath(name).name, name, size, changed)
        for name, size, changed in ((n, int(info.get("size") or 0), _changed(info)) for n, info in infos.items())
    ]
    if path in infos:
        return found
    return sorted((file for file in found if _is_data(file.name)), key=lambda file: file.name)


def kind_of(address: str, files: Sequence[DataFile]) -> str:
    """What all files of a data set hold.

    Raises:
        InputError: They are of several kinds, of none that is read, or there are none.
    """
    kinds = {KINDS.get(PurePosixPath(file.name).suffix.lower()) for file in files}
    read = ", ".join(KINDS)
    if not files:
        raise wrong_file(address, f"expected files that end in {read} in this folder, there are none")
    if None in kinds:
        raise wrong_file(address, f"expected a file that ends in {read}, or a folder of such, received another")
    if len(kinds) > 1:
        raise wrong_file(address, f"expected files of one kind, received {' and '.join(sorted(map(str, kinds)))}")
    return str(kinds.pop())


def open_file(address: str, file: DataFile) -> IO[bytes]:
    """Open a file of a data set for reading.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        opened: IO[bytes] = _system(address)[0].open(file.path, "rb")
    except Exception as error:
        raise wrong_file(file.path, f"it cannot be read ({_short(error)})") from error
    return opened


def is_below(folder: Path, address: str) -> bool:
    """Whether a folder here lies in that of a data set, or is it."""
    system, path = _system(address)
    from fsspec.implementations.local import LocalFileSystem

    here = isinstance(system, LocalFileSystem) and Path(path).is_dir()
    return here and folder.resolve().is_relative_to(Path(path).resolve())


def shown(name: str) -> str:
    r"""A file's name as text: bytes in it that are none are written as \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def digest_of(files: Sequence[DataFile]) -> str:
    """What differs where a file has another name, length or time of change, comes or goes."""
    lines = "\n".join(repr((file.name, file.size, file.changed)) for file in files)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    require_extra("data", "pyarrow", "fsspec")
    from fsspec.core import url_to_fs

    scheme = address.partition("://")[0]
    try:
        system, path = url_to_fs(address)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        remedy = f'install it with: pip install "thinned[{extra}]"' if extra else f"install it ({_short(error)})"
        raise UsageError(f"what reads addresses of {scheme}:// is not installed; {remedy}") from None
    except Exception as error:
        raise UsageError(f"{address} cannot be opened ({_short(error)}); pass a path, file:// or s3://") from None
    return system, str(path)


def _changed(info: dict[str, Any]) -> str:
    return next((str(info[name]) for name in _CHANGED if info.get(name) is not None), "")


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in KINDS and not any(part.startswith(("_", ".")) for part in path.parts)


def _short(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.split("\n")[0][:160]
