"""PNG and JPEG files: what their headers say, read without a decoder, so that its work is known before it begins.

Of a PNG only the parts that hold pixels are handed on: a decoder unpacks texts and profiles too, to any size.

References:
    Portable Network Graphics, https://www.w3.org/TR/png-3/
    ITU-T T.81 (JPEG), https://www.w3.org/Graphics/JPEG/itu-t81.pdf
"""

from __future__ import annotations

from dataclasses import dataclass

from thinned.models.errors import MisnamedBodyError

__all__ = ["JPEG", "PNG", "Image", "read_image"]

PNG, JPEG = "image/png", "image/jpeg"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
"""Channels without alpha, by the colour type of a PNG."""
_PALETTE, _WITH_ALPHA = 3, (4, 6)
_MOST_CHUNKS = 10_000
_MOST_SEGMENTS = 1000
_MOST_SCANS = 64
"""Of a progressive JPEG, each of which takes a decoder as long as the whole image."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers that no length follows."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was not decoded yet.

    `kind` is `PNG` or `JPEG`. `channels` are 1 (grey) or 3 (red, green, blue), without alpha; `bits` those of one.
    `data` is the file, or what of it holds pixels. `wanted` is the height and width that it is resized to, if it is.
    """

    kind: str
    width: int
    height: int
    channels: int
    bits: int
    data: tuple[memoryview, ...]
    alpha: bool = False
    wanted: tuple[int, int] | None = None

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what comes of it."""
        return self.wanted or (self.height, self.width)

    @property
    def size(self) -> int:
        """Bytes of its pixels as a decoder gives them.

        Resizing goes over one side after the other: what is as high as one picture and as wide as the other counts.
        """
        height, width = self.sides
        return max(self.height, height) * max(self.width, width) * (self.channels + self.alpha)


def read_image(kind: str, data: memoryview, where: str) -> Image:
    """What the header of an image says.

    Args:
        kind: Its content type.
        data: The file.
        where: The input that it is for.

    Raises:
        MisnamedBodyError: It is no such file, or of a sort that is not read; the text says what to send.
    """
    try:
        image = _png(data) if kind == PNG else _jpeg(data)
    except _BrokenError as error:
        raise MisnamedBodyError(f"expected a {kind.partition('/')[2].upper()} file for {where}: {error}") from None
    if not image.width or not image.height:
        raise MisnamedBodyError(f"expected an image of some pixels for {where}, received none")
    return image


class _BrokenError(Exception):
    """What is wrong with a file."""


def _png(data: memoryview) -> Image:
    if bytes(data[:8]) != _SIGNATURE:
        raise _BrokenError("it does not begin as one")
    kept, at = [data[:8]], 8
    kinds: list[bytes] = []
    while not kinds or kinds[-1] != b"IEND":
        head = bytes(data[at : at + 8])
        end = at + 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or end > len(data):
            raise _BrokenError("it ends too early")
        if len(kinds) == _MOST_CHUNKS:
            raise _BrokenError(f"it has more than {_MOST_CHUNKS} chunks")
        kinds.append(head[4:])
        if kinds[-1] == b"acTL":
            raise _BrokenError("it is animated; send one picture")
        # What is critical begins with a capital letter.
        if head[4:5].isupper() or kinds[-1] == b"tRNS":
            kept.append(data[at:end])
        at = end
    if at != len(data):
        raise _BrokenError("more follows its end")
    first = kept[1]
    if kinds[0] != b"IHDR" or len(first) != 25 or kinds.count(b"IHDR") > 1 or b"IDAT" not in kinds:
        raise _BrokenError("it has no header, or no pixels")
    width, height = int.from_bytes(first[8:12], "big"), int.from_bytes(first[12:16], "big")
    bits, colour = first[16], first[17]
    if colour not in _CHANNELS or bits not in (1, 2, 4, 8, 16):
        raise _BrokenError(f"it has {bits} bits and the colour type {colour}, which no PNG has")
    if bits == 16:
        raise _BrokenError("it has 16 bits a channel, and pixels are taken as 0 to 255; send 8, or the values as .npy")
    transparent = b"tRNS" in kinds
    if transparent and colour != _PALETTE:
        raise _BrokenError("one of its colours is transparent; put it on a background")
    return Image(PNG, width, height, _CHANNELS[colour], bits, tuple(kept), transparent or colour in _WITH_ALPHA)


def _jpeg(data: memoryview) -> Image:
    if bytes(data[:2]) != b"\xff\xd8":
        raise _BrokenError("it does not begin as one")
    at = 2
    for _ in range(_MOST_SEGMENTS):
        while bytes(data[at : at + 2]) == b"\xff\xff":
            at += 1
        head = bytes(data[at : at + 4])
        if len(head) < 4 or head[0] != 0xFF:
            raise _BrokenError("it ends, or is broken, before its frame")
        if head[1] in _BARE:
            at += 2
            continue
        if head[1] in _FRAMES:
            return _frame(data, at)
        if head[1] in (0xD9, 0xDA):
            raise _BrokenError("it has no frame")
        at += 2 + max(2, int.from_bytes(head[2:], "big"))
    raise _BrokenError(f"no frame is among its first {_MOST_SEGMENTS} segments")


def _frame(data: memoryview, at: int) -> Image:
    frame = bytes(data[at + 4 : at + 10])
    if len(frame) < 6:
        raise _BrokenError("it ends too early")
    bits, height, width, channels = frame[0], *(int.from_bytes(frame[i : i + 2], "big") for i in (1, 3)), frame[5]
    if channels not in (1, 3):
        raise _BrokenError(f"it has {channels} channels (CMYK, most likely); send it in grey or RGB")
    if bits != 8:
        raise _BrokenError(f"it has {bits} bits a channel; send 8")
    if bytes(data).count(b"\xff\xda") > _MOST_SCANS:
        raise _BrokenError(f"it has more than {_MOST_SCANS} scans; save it as a baseline JPEG")
    return Image(JPEG, width, height, channels, bits, (data,))
