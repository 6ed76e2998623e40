"""The members of an archive, judged by what they declare before a byte is inflated."""

from __future__ import annotations

import io
import json
import math
import stat
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from thinned.models.errors import ModelFileError
from thinned.models.storage.limits import (
    DEEPEST,
    LONGEST_TEXT,
    MAX_MODEL,
    MOST_ITEMS,
    MOST_MEMBERS,
    allowed_bytes,
    free_bytes,
    is_bomb,
    max_model_bytes,
    size_text,
)

__all__ = ["CONFIG", "METADATA", "WEIGHTS", "check_members", "check_weights", "parsed_json", "read_text"]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_SYMLINK_PLACE = 16
_INFLATED_AT_ONCE = 1 << 30


def check_members(archive: zipfile.ZipFile) -> Mapping[str, zipfile.ZipInfo]:
    """Refuse an archive by the names and the declared sizes of its members.

    Returns:
        The members by name.

    Raises:
        ModelFileError: There are too many, a name leads out of the archive or comes twice, or the declared sizes are
            more than the limit, the free memory, or what such a file could hold; the text goes behind the file's name.
    """
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ModelFileError(f"it has {len(infos):,} members; a model has three, and at most {MOST_MEMBERS:,} are read")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if problem := _problem(info, found):
            raise ModelFileError(f"its member {info.orig_filename!r} {problem}; Keras writes no such archive")
        found[info.filename] = info
    total, most = sum(info.file_size for info in infos), max_model_bytes()
    if total > most:
        raise ModelFileError(
            f"it holds {size_text(total)} once it is unpacked, and {size_text(most)} are allowed; if that is right, "
            f"set {MAX_MODEL}"
        )
    free = free_bytes()
    if free is not None and total > free:
        raise ModelFileError(
            f"it holds {size_text(total)} once it is unpacked, and {size_text(free)} of memory are free"
        )
    return found


def _problem(info: zipfile.ZipInfo, before: Mapping[str, zipfile.ZipInfo]) -> str | None:
    """What is wrong with a member."""
    name = info.orig_filename
    if name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts:
        return "names a place outside the archive"
    if "\\" in name or "\0" in name:
        return "has a backslash or a zero in its name"
    if stat.S_ISLNK(info.external_attr >> _SYMLINK_PLACE):
        return "is a link"
    if info.filename in before:
        return "is there twice"
    if info.filename in (CONFIG, METADATA) and info.file_size > LONGEST_TEXT:
        return f"is longer than {LONGEST_TEXT >> 20} MiB"
    if is_bomb(info.file_size, info.compress_size):
        return f"declares {size_text(info.file_size)}, of which the archive holds {size_text(info.compress_size)}"
    return None


def check_weights(archive: zipfile.ZipFile) -> None:
    """Refuse weights that declare larger arrays than their file could hold: HDF5 may compress, and Keras does not.

    Raises:
        ModelFileError: They do.
        OSError: They are no HDF5.
    """
    info = archive.NameToInfo.get(WEIGHTS)
    stored = info is not None and info.compress_type == zipfile.ZIP_STORED
    if info is None or not (stored or info.file_size <= _INFLATED_AT_ONCE):
        return
    import h5py

    most = allowed_bytes(info.file_size)
    declared = 0

    def add(name: str, item: Any) -> None:
        nonlocal declared
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            declared += math.prod(item.shape) * item.dtype.itemsize

    with archive.open(info) as member, h5py.File(member if stored else io.BytesIO(member.read()), "r") as file:
        file.visititems(add)
    if declared > most:
        raise ModelFileError(
            f"its weights are declared as {size_text(declared)}, and their file holds {size_text(info.file_size)}"
        )


def read_text(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of text, and no more of it than it declares.

    Raises:
        KeyError: There is no such member.
        ModelFileError: It is longer than it may be, or than it declares.
    """
    info = archive.getinfo(name)
    most = min(info.file_size, LONGEST_TEXT)
    with archive.open(info) as member:
        text = member.read(most + 1)
    if len(text) > most:
        raise ModelFileError(f"its member {name!r} is longer than it declares, or than {LONGEST_TEXT >> 20} MiB")
    return text


def parsed_json(text: bytes, what: str = "configuration") -> Any:
    """JSON of no more items, and no deeper, than any model has.

    Raises:
        ModelFileError: It has more, or is nested deeper.
        ValueError: It is no JSON.
    """
    items = text.count(b",") + text.count(b"[") + text.count(b"{")
    if items > MOST_ITEMS:
        raise ModelFileError(f"its {what} has some {items:,} items, and at most {MOST_ITEMS:,} are read")
    too_deep = f"its {what} is nested too deeply: more than {DEEPEST} levels"
    try:
        parsed = json.loads(text)
    except RecursionError:
        raise ModelFileError(too_deep) from None
    level = [parsed]
    for _ in range(DEEPEST):
        inner = [list(item.values()) if isinstance(item, dict) else item for item in level]
        level = [child for children in inner if isinstance(children, list) for child in children]
        if not level:
            return parsed
    raise ModelFileError(too_deep)
