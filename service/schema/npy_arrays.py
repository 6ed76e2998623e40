"""Arrays in NumPy's file formats, .npy and .npz. Nothing is unpickled, and nothing allocated for a header that lies.

NumPy's own reader allocates what a header says before it looks for the bytes, and inflates an archive however far it
goes. Here both are known before the first array is made.

References:
    The NPY format, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.errors import BodyTooLargeError, InputError, MisnamedBodyError, Problem

__all__ = ["NpyArray", "NpzMember", "members_of_npz", "read_npy"]

Array: TypeAlias = npt.NDArray[Any]
Loc: TypeAlias = tuple[str | int, ...]

_MAGIC = b"\x93NUMPY"
_HEADER_BYTES = 1000
"""A header of 32 axes of 20 digits each fits."""
_MOST_AXES = 32
_DTYPE = re.compile(r"[<>=|]?(?:\?|b1|[iu][1248]|f[248]|U[1-9][0-9]{0,8})")
_LARGEST_CHARACTER = 0x10FFFF
_DIRECTORY_BYTES = 64 * 1024
_END_BYTES = 22
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class NpyArray:
    """An array whose header was read and whose bytes are as many as the header says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    data: memoryview

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return len(self.data)

    def array(self, loc: Loc) -> Array:
        """Its values, in row-major order; without a copy where they are in this order already.

        Raises:
            InputError: They are no values of its dtype.
        """
        if not self.data:
            return np.empty(self.shape, self.dtype)
        flat = np.frombuffer(self.data, self.dtype)
        if self.dtype.kind == "b" and np.frombuffer(self.data, np.uint8).max() > 1:
            raise InputError([Problem(loc, "expected bytes of 0 or 1, as booleans are, received others")])
        if self.dtype.kind == "U":
            codes = np.frombuffer(self.data, np.dtype(np.uint32).newbyteorder(self.dtype.byteorder))
            if codes.max() > _LARGEST_CHARACTER:
                raise InputError([Problem(loc, "expected characters of Unicode, received a larger number")])
        return np.ascontiguousarray(flat.reshape(self.shape, order="F")) if self.fortran else flat.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class NpzMember:
    """An array in an archive, not read yet."""

    name: str
    size: int
    """Bytes that it unpacks to, as the archive says; no more are unpacked."""
    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo

    def read(self, loc: Loc) -> NpyArray:
        """Unpack it.

        Raises:
            MisnamedBodyError: It cannot be unpacked, or is no .npy file.
            InputError: Its values are of a kind that is not read.
        """
        try:
            with self.archive.open(self.entry) as packed:
                data = packed.read(self.size)
                end = packed.read(1)  # Here its checksum is compared.
        except _BROKEN as error:
            raise MisnamedBodyError(f"expected an .npz archive; {self.name!r} cannot be unpacked: {error}") from None
        if len(data) != self.size or end:
            raise MisnamedBodyError(f"expected an .npz archive; {self.name!r} is not as long as its directory says")
        return read_npy(memoryview(data), loc)


_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for archives that are broken, encrypted or of another kind."""


def members_of_npz(body: bytes, most: int) -> dict[str, NpzMember]:
    """The arrays of an archive by name; only its directory is read.

    Args:
        body: The archive, stored or deflated.
        most: Bytes that all its arrays together may unpack to.

    Raises:
        MisnamedBodyError: It is no such archive.
        BodyTooLargeError: Its arrays are too large.
    """
    _check_directory(body)
    try:
        archive = zipfile.ZipFile(BytesIO(body))
    except _BROKEN as error:
        raise MisnamedBodyError(f"expected an .npz archive: {error}") from None
    found: dict[str, NpzMember] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename or entry.flag_bits & _ENCRYPTED:
            raise MisnamedBodyError(f"expected an .npz archive of .npy files, received {entry.filename[:100]!r} in it")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise MisnamedBodyError(f"expected an .npz archive, stored or deflated; {name[:100]!r} is packed otherwise")
        if name in found:
            raise MisnamedBodyError(f"expected every array once; {name[:100]!r} is in the archive twice")
        found[name] = NpzMember(name, entry.file_size, archive, entry)
    size = sum(member.size for member in found.values())
    if size > most:
        raise BodyTooLargeError(
            f"expected an archive of at most {most} bytes, unpacked, received one of {size}; send fewer rows"
        )
    return found


def _check_directory(body: bytes) -> None:
    """Refuse a directory that would take long to read: it holds the names of some inputs."""
    end = body[-_END_BYTES:]
    if len(end) < _END_BYTES or not end.startswith(_END):
        raise MisnamedBodyError("expected an .npz archive, as numpy.savez writes it, received something else")
    size = int.from_bytes(end[12:16], "little")
    if size > _DIRECTORY_BYTES or body[-_END_BYTES - 20 : -_END_BYTES].startswith(_END_64):
        raise MisnamedBodyError(
            f"expected an .npz archive whose directory has at most {_DIRECTORY_BYTES} bytes, received a longer one"
        )


def read_npy(data: memoryview, loc: Loc) -> NpyArray:
    """Read the header of an .npy file, and compare it with the bytes behind it.

    Args:
        data: The whole file.
        loc: Where it stands, for errors.

    Raises:
        MisnamedBodyError: It is no .npy file, or its header says another length than it has.
        InputError: Its values are of a kind that is not read.
    """
    where = ".".join(map(str, loc))
    if data[:6] != _MAGIC or len(data) < 10 or data[6] not in (1, 2, 3):
        raise MisnamedBodyError(f"expected an .npy file for {where}, which begins with \\x93NUMPY and its version")
    begin = 10 if data[6] == 1 else 12
    length = int.from_bytes(data[8:begin], "little")
    if length > _HEADER_BYTES or begin + length > len(data):
        said = f"expected an .npy file for {where} with a header of at most {_HEADER_BYTES} bytes"
        raise MisnamedBodyError(f"{said}, received {length} of {len(data)} bytes")
    descr, fortran, shape = _header(bytes(data[begin : begin + length]), where)
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        text = f"expected numbers, booleans or text (U), received the dtype {str(descr)[:60]!r}"
        pickled = "; Python objects are never unpickled" if "O" in str(descr) else ""
        raise InputError([Problem(loc, f"{text}{pickled}")])
    dtype = np.dtype(descr)
    rest = data[begin + length :]
    expected = prod(shape) * dtype.itemsize
    if len(rest) != expected:
        said = f"the header of the .npy file for {where} says {dtype.name} of shape {list(shape)}, {expected} bytes"
        raise MisnamedBodyError(f"{said[:400]}; {len(rest)} follow it")
    return NpyArray(shape, dtype, fortran, rest)


def _header(text: bytes, where: str) -> tuple[object, bool, tuple[int, ...]]:
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise MisnamedBodyError(
            f"expected an .npy file for {where} whose header names descr, fortran_order and shape"
        ) from None
    lengths = isinstance(shape, tuple) and len(shape) <= _MOST_AXES and all(type(n) is int and n >= 0 for n in shape)
    if not lengths or type(fortran) is not bool:
        raise MisnamedBodyError(
            f"expected an .npy file for {where} whose shape is a tuple of at most {_MOST_AXES} lengths and whose "
            "fortran_order is True or False"
        )
    return descr, fortran, shape
