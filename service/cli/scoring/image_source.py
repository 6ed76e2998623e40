"""A folder of PNG and JPEG files as a data set: an image a row, read as the service reads them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, RequestError, UsageError
from thinned.service.cli.scoring.addresses import DataFile, open_file, shown
from thinned.service.cli.scoring.data_set import DataSet, Part
from thinned.service.schema.input_arrays import check_inputs

__all__ = ["ImageReader", "image_set"]

Array = npt.NDArray[Any]
_LARGEST = 256 * 1024 * 1024
"""Bytes of a file, and of its pixels, beyond which an image is not decoded."""
_NAME = "file"


def image_set(
    address: str,
    files: Sequence[DataFile],
    specs: Sequence[InputSpec],
    *,
    columns: Sequence[str] | None,
    key: str | None,
    most: int,
) -> DataSet:
    """A row for each file, in the order of their names; the column `file` keeps the name.

    Raises:
        UsageError: The model has several inputs, or columns were named.
    """
    if len(specs) > 1:
        raise UsageError(f"a folder of images is for a model of one input, this one has {len(specs)}; pass a .npz file")
    if columns is not None or key not in (None, _NAME):
        raise UsageError(f"images have one column, {_NAME}; leave --columns and --key out")
    starts = range(0, len(files), most)
    parts = [Part(number, 0, at, min(most, len(files) - at), at) for number, at in enumerate(starts)]
    return DataSet(address, "images", tuple(files), tuple(parts), tuple(specs), (), (), ((_NAME, "string"),))


class ImageReader:
    """Reads images, some at a time."""

    def __init__(self, data: DataSet) -> None:
        self._data = data

    def read(self, part: Part) -> _Images:
        """Read and decode the images of a part; broken ones are told by themselves."""
        return _Images(self._data, self._data.files[part.first : part.first + part.rows])


class _Images:
    """Decoded images, or why there are none."""

    def __init__(self, data: DataSet, files: Sequence[DataFile]) -> None:
        import pyarrow

        self._specs, self._files = data.specs, files
        self.broken: dict[int, str] = {}
        self.kept = pyarrow.table({_NAME: pyarrow.array([shown(file.name) for file in files], pyarrow.string())})
        self._pixels: dict[int, Array] = {}
        for row, file in enumerate(files):
            try:
                self._pixels[row] = _decoded(data.address, file, data.specs[0])
            except (InputError, RequestError) as error:
                self.broken[row] = f"{file.name}: {error}"

    def place(self, row: int) -> str:
        """The file."""
        return self._files[row].name

    def shape(self, row: int) -> Hashable:
        """Height, width and channels."""
        return self._pixels[row].shape

    def inputs(self, rows: Sequence[int]) -> dict[str, Array]:
        """Some images of one shape as an array.

        Raises:
            InputError: They do not fit.
        """
        stacked = np.concatenate([self._pixels[row] for row in rows])
        return check_inputs({self._specs[0].name: stacked}, self._specs, max_rows=None)


def _decoded(address: str, file: DataFile, spec: InputSpec) -> Array:
    """The pixels of an image as one row, (1, ...)."""
    from thinned.service.inference.image_pixels import IMAGES
    from thinned.service.schema.image_headers import JPEG, PNG
    from thinned.service.schema.raw_body import open_image

    with open_file(address, file) as opened:
        content = opened.read(_LARGEST + 1)
    kind = PNG if PurePosixPath(file.name).suffix.lower() == ".png" else JPEG
    return open_image(content, kind, spec, IMAGES, most=_LARGEST)
