"""An HDF5 file as Keras wrote it: the configuration and the weights, and nothing that lies outside the file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from thinned.models.errors import ModelFileError
from thinned.models.storage.limits import LONGEST_TEXT, MOST_OBJECTS, allowed_bytes

__all__ = ["Array", "HDF5Model", "open_hdf5"]

Array = npt.NDArray[Any]


class HDF5Model:
    """Reads one open file. Links to other files, and data kept in them, are refused.

    Args:
        file: The open file.
        size: Its size in bytes, by which what it may declare is limited.
    """

    def __init__(self, file: h5py.File, size: int) -> None:
        self._file = file
        self._left = allowed_bytes(size)

    def attribute(self, name: str, place: h5py.Group | None = None) -> str | None:
        """A text attribute of the file or of a group; None where there is none.

        Raises:
            ModelFileError: It is no text, or far too long.
        """
        attributes = (self._file if place is None else place).attrs
        if name not in attributes:
            return None
        value = attributes[name]
        text = value.decode("utf-8") if isinstance(value, bytes) else value
        if not isinstance(text, str) or len(text) > LONGEST_TEXT:
            raise ModelFileError(f"its attribute {name} is no text of at most {LONGEST_TEXT >> 20} MiB")
        return text

    def layers(self) -> Iterator[tuple[str, list[str], Iterator[Array]]]:
        """Each layer with weights: its name, the names of its weights, and the weights as they are read.

        Raises:
            ModelFileError: A name leads nowhere or out of the file, or the weights are not numbers.
        """
        root = self._group(self._file, "model_weights") if "model_weights" in self._file else self._file
        for layer in [*self._names(root, "layer_names"), "top_level_model_weights"]:
            if layer == "top_level_model_weights" and layer not in root:
                continue
            group = self._group(root, layer)
            names = self._names(group, "weight_names")
            if names:
                yield layer, names, (self._array(group, name) for name in names)

    def backend(self) -> str | None:
        """The backend whose convolutions the weights are for."""
        root = self._group(self._file, "model_weights") if "model_weights" in self._file else self._file
        return self.attribute("backend", root) or self.attribute("backend")

    def tree(self) -> Iterator[tuple[str, Array]]:
        """Every array with its path: the layout inside an archive.

        Raises:
            ModelFileError: There is a link out of the file, or a group inside itself.
        """
        waiting: list[tuple[str, h5py.Group]] = [("", self._file)]
        seen = 0
        while waiting:
            path, group = waiting.pop()
            for name in group:
                seen += 1
                if seen > MOST_OBJECTS or path.count("/") > 64:
                    raise ModelFileError("it holds too many groups, or groups inside themselves")
                item = self._item(group, name)
                inner = f"{path}/{name}" if path else name
                if isinstance(item, h5py.Group):
                    waiting.append((inner, item))
                else:
                    yield inner, self._read(item, inner)

    def _names(self, group: h5py.Group, name: str) -> list[str]:
        """A list of names. HDF5 limits an attribute to 64 KiB, and Keras cuts longer lists into numbered ones."""
        parts = [name] if name in group.attrs else []
        if not parts:
            numbered = (f"{name}{number}" for number in range(MOST_OBJECTS))
            parts = list(itertools.takewhile(group.attrs.__contains__, numbered))
        found: list[str] = []
        for part in parts:
            for item in np.atleast_1d(np.asarray(group.attrs[part])).tolist():
                text = item.decode("utf-8") if isinstance(item, bytes) else item
                if not isinstance(text, str):
                    raise ModelFileError(f"its attribute {name} is no list of names")
                found.append(text)
        if len(found) > MOST_OBJECTS:
            raise ModelFileError(f"its attribute {name} has more than {MOST_OBJECTS} names")
        return found

    def _item(self, group: h5py.Group, name: str) -> Any:
        """A member that a hard link leads to."""
        link = group.get(name, getlink=True)
        if link is None:
            raise ModelFileError(f"it names {name!r}, which is not there; the file is incomplete")
        if not isinstance(link, h5py.HardLink):
            kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
            raise ModelFileError(f"its member {name!r} is a link to {kind}, which no file of Keras has")
        return group[name]

    def _walk(self, group: h5py.Group, path: str) -> Any:
        item: Any = group
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(item, h5py.Group):
                raise ModelFileError(f"it names {path!r}, which is not there; the file is incomplete")
            item = self._item(item, part)
        return item

    def _group(self, group: h5py.Group, path: str) -> h5py.Group:
        item = self._walk(group, path)
        if not isinstance(item, h5py.Group):
            raise ModelFileError(f"its member {path!r} is not a group of weights")
        return item

    def _array(self, group: h5py.Group, path: str) -> Array:
        return self._read(self._walk(group, path), path)

    def _read(self, item: Any, path: str) -> Array:
        if not isinstance(item, h5py.Dataset):
            raise ModelFileError(f"its member {path!r} is not an array of weights")
        if item.external or item.is_virtual:
            raise ModelFileError(f"its weights {path!r} lie in another file, which no file of Keras has")
        if item.dtype.kind not in "fiub" or item.shape is None:
            raise ModelFileError(f"its weights {path!r} are not numbers ({item.dtype})")
        self._left -= int(np.prod(item.shape, dtype=object)) * item.dtype.itemsize
        if self._left < 0:
            shape = "×".join(map(str, item.shape))
            raise ModelFileError(
                f"its weights {path!r} are declared as {shape}, which is more than the file could hold"
            )
        return np.asarray(item[()])


def open_hdf5(path: Path) -> h5py.File:
    """Open a file to read.

    Raises:
        ModelFileError: It is damaged or cut short.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ModelFileError(f"it is damaged or cut short ({str(error).splitlines()[0][:160]})") from error
