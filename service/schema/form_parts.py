"""Bodies of multipart/form-data: their parts, as views of the body.

References:
    RFC 7578, Returning Values from Forms: multipart/form-data, https://www.rfc-editor.org/rfc/rfc7578
"""

from __future__ import annotations

import re
from typing import NamedTuple

from thinned.models.errors import MisnamedBodyError

__all__ = ["Part", "parts_of"]

_MOST_PARTS = 100
_HEADER_BYTES = 1000
_NAME = re.compile(r';\s*name\s*=\s*(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_AS_IT_IS = ("", "binary", "8bit", "7bit")


class Part(NamedTuple):
    """One part: its name, its content type in small letters (empty where it has none), and what it holds."""

    name: str
    kind: str
    data: memoryview


def parts_of(body: bytes, boundary: bytes) -> list[Part]:
    """The parts of a body in their order.

    Raises:
        MisnamedBodyError: It is no such form.
    """
    border, whole = b"--" + boundary, memoryview(body)
    if not body.startswith(border):
        raise MisnamedBodyError("expected multipart/form-data that begins with its boundary, received something else")
    found: list[Part] = []
    at = len(border)
    while (sign := body[at : at + 2]) == b"\r\n":
        if len(found) == _MOST_PARTS:
            raise MisnamedBodyError(f"expected multipart/form-data of at most {_MOST_PARTS} parts, received more")
        # The line break before the headers may be the one that ends them: a part without any.
        head_end = body.find(b"\r\n\r\n", at, at + _HEADER_BYTES)
        end = body.find(b"\r\n" + border, head_end + 4)
        if head_end < 0 or end < 0:
            raise MisnamedBodyError(
                f"expected multipart/form-data; part {len(found) + 1} has no end, or headers of more than "
                f"{_HEADER_BYTES} bytes"
            )
        found.append(_part(body[at + 2 : head_end], whole[head_end + 4 : end], len(found) + 1))
        at = end + 2 + len(border)
    if sign != b"--" or body[at + 2 :].strip():
        raise MisnamedBodyError("expected multipart/form-data that ends with its boundary and --, received other bytes")
    return found


def _part(head: bytes, data: memoryview, number: int) -> Part:
    try:
        lines = [line.partition(":") for line in head.decode("utf-8").split("\r\n")]
    except UnicodeDecodeError:
        raise MisnamedBodyError(f"expected headers in UTF-8; those of part {number} are not") from None
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    name = _NAME.search(headers.get("content-disposition", ""))
    if name is None:
        raise MisnamedBodyError(f"expected content-disposition: form-data with a name; part {number} has none")
    if headers.get("content-transfer-encoding", "").lower() not in _AS_IT_IS:
        raise MisnamedBodyError(f"expected parts as they are; part {number} has a content-transfer-encoding")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Part(name[1] if name[1] is not None else name[2], kind, data)
