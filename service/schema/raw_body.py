"""Bodies other than JSON: arrays, archives, images and forms, into the fields that JSON would have in their place.

What is wrong with a body's form, and how much it unpacks to, is known when it was opened; nothing is unpacked before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from thinned.models.card import ImageResize, InputSpec, ModelCard
from thinned.models.errors import BodyTooLargeError, InputError, MisnamedBodyError, Problem
from thinned.service.schema.form_parts import Part, parts_of
from thinned.service.schema.image_headers import JPEG, PNG, Image, read_image
from thinned.service.schema.input_arrays import MAX_PROBLEMS, check_shape, numpy_dtype
from thinned.service.schema.npy_arrays import NpyArray, NpzMember, members_of_npz, read_npy
from thinned.service.schema.option_texts import options_of, pairs_of_query
from thinned.service.settings import Settings

__all__ = ["FORM", "JSON", "KINDS", "NPY", "NPZ", "Form", "ImageReader", "RawBody", "open_body", "open_image"]

Array: TypeAlias = npt.NDArray[Any]
Loc: TypeAlias = tuple[str | int, ...]


class ImageReader(NamedTuple):
    """What is done with images: `decode` gives the pixels, `resize` brings them to a height and width by a method.

    Pixels are (height, width, channels), 0 to 255, bytes unless they were resized; with alpha there is a channel more.
    """

    decode: Callable[[Image], Array]
    resize: Callable[[Array, tuple[int, int], ImageResize], Array]


JSON, NPY, NPZ, FORM = "application/json", "application/x-npy", "application/x-npz", "multipart/form-data"
KINDS = (JSON, NPY, NPZ, PNG, JPEG, FORM)
"""Content types that a body may have."""
_OF_PARTS = (NPY, PNG, JPEG, JSON)
_UNNAMED = ("", "application/octet-stream")
_OPAQUE = 255
_BEGINNINGS = {b"\x93NUMPY": NPY, b"\x89PNG\r\n": PNG, b"\xff\xd8\xff": JPEG}
"""What a part begins with whose content type a client did not know."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a body is written: its content type, the boundary of a form, and the query of its request."""

    kind: str = JSON
    boundary: bytes = b""
    query: str = ""


Source: TypeAlias = "NpyArray | NpzMember | Image | list[Any]"


@dataclass(frozen=True, slots=True)
class RawBody:
    """An opened body: what each input is read from, and the options beside it."""

    sources: Mapping[str, Source]
    options: Mapping[str, object]
    named: bool
    """Whether it names its inputs; else it is the only one."""

    @property
    def size(self) -> int:
        """Bytes that its inputs unpack to, as they say themselves; no more are unpacked."""
        return sum(0 if isinstance(source, list) else source.size for source in self.sources.values())

    @property
    def packed(self) -> bool:
        """Whether there is something to be unpacked, which takes longer than to copy it."""
        return any(isinstance(source, NpzMember | Image) for source in self.sources.values())

    @property
    def pictured(self) -> bool:
        """Whether an input is an image."""
        return any(isinstance(source, Image) for source in self.sources.values())

    def fields(self, specs: Sequence[InputSpec], settings: Settings, images: ImageReader) -> dict[str, object]:
        """The fields of a request, with arrays for the inputs.

        Raises:
            MisnamedBodyError: Something in it is not what it says.
            InputError: It does not fit the model.
        """
        arrays: dict[str, object] = dict(self.sources)  # Names that are wrong are told with those of JSON.
        problems: list[Problem] = []
        if set(arrays) == {spec.name for spec in specs}:
            for spec in specs:
                loc = ("inputs", spec.name) if self.named else ("inputs",)
                try:
                    arrays[spec.name] = _rows(self.sources[spec.name], spec, loc, settings, images)
                except InputError as error:
                    problems += error.problems
        if problems:
            raise InputError(problems[:MAX_PROBLEMS])
        return {"inputs": arrays if self.named else next(iter(arrays.values())), **self.options}


def open_body(body: bytes, form: Form, card: ModelCard, settings: Settings) -> RawBody:
    """Open a body that is not JSON: read its headers, and no more.

    Raises:
        MisnamedBodyError: It is not what its content type says.
        BodyTooLargeError: It unpacks to more than a body may be.
        InputError: Its options are wrong, or it does not fit the model's inputs.
    """
    pairs, sources = pairs_of_query(form.query), dict[str, Source]()
    if form.kind == FORM:
        inputs = {spec.name: spec for spec in card.inputs}
        parts = [_named(part, inputs) for part in parts_of(body, form.boundary)]
        pairs += [(part.name, _text(part)) for part in parts if part.kind not in _OF_PARTS]
        for part in (part for part in parts if part.kind in _OF_PARTS):
            if part.name in sources:
                problem = Problem(("inputs", part.name[:100]), "expected every input once, received it twice")
                raise InputError([problem])
            sources[part.name] = _source(part.kind, part.data, ("inputs", part.name), inputs.get(part.name), settings)
    elif form.kind == NPZ:
        sources |= members_of_npz(body, settings.max_body_bytes)
    elif len(card.inputs) > 1:
        names = ", ".join(repr(spec.name) for spec in card.inputs)
        expected = f"expected {names}, each by its name; send {NPZ}, or {FORM} with a part for each"
        raise InputError([Problem(("inputs",), f"{expected}, received one body of {form.kind}")])
    else:
        (spec,) = card.inputs
        sources[spec.name] = _source(form.kind, memoryview(body), ("inputs",), spec, settings)
    opened = RawBody(sources, options_of(pairs), named=form.kind in (NPZ, FORM))
    if opened.size > settings.max_body_bytes:
        raise BodyTooLargeError(
            f"expected a body of at most {settings.max_body_bytes} bytes, unpacked, received one of {opened.size}; "
            f"send {'a smaller image' if opened.pictured else 'fewer rows'}"
        )
    return opened


def open_image(data: bytes, kind: str, spec: InputSpec, images: ImageReader, *, most: int) -> Array:
    """The pixels of one image as a row of an input, (1, ...), as a body that holds nothing else is read.

    Args:
        data: The file.
        kind: Its content type, PNG's or JPEG's.
        spec: The input.
        images: What is done with images.
        most: Bytes that the file, and its pixels, may have.

    Raises:
        MisnamedBodyError: It is no such image, or a broken one.
        BodyTooLargeError: It is too large.
        InputError: It does not fit the input.
    """
    if len(data) > most:
        raise BodyTooLargeError(f"expected an image of at most {most} bytes")
    settings = Settings.model_construct(max_rows=1, max_length=most)
    image = read_image(kind, memoryview(data), spec.name)
    _check_image(image, spec, ("inputs",), settings)
    if image.size > most:
        raise BodyTooLargeError(f"expected an image of at most {most} bytes of pixels, this one has {image.size}")
    rows = _rows(image, spec, ("inputs",), settings, images)
    return np.asarray(rows)


def _named(part: Part, inputs: Mapping[str, InputSpec]) -> Part:
    """A part with the content type that it should have been given."""
    if part.kind in _UNNAMED:
        start = bytes(part.data[:6])
        kind = next((kind for sign, kind in _BEGINNINGS.items() if start.startswith(sign)), part.kind)
        return part._replace(kind=kind)
    # JSON under the name of an option is its value.
    return part._replace(kind="") if part.kind == JSON and part.name not in inputs else part


def _text(part: Part) -> str:
    if part.kind not in ("", "text/plain"):
        raise MisnamedBodyError(
            f"expected the part {part.name[:100]!r} to be {', '.join(_OF_PARTS)}, or the text of an option, received "
            f"{part.kind[:60]!r}"
        )
    try:
        return str(part.data, "utf-8")
    except UnicodeDecodeError:
        raise MisnamedBodyError(f"expected the part {part.name[:100]!r} to be text in UTF-8, it is not") from None


def _source(kind: str, data: memoryview, loc: Loc, spec: InputSpec | None, settings: Settings) -> Source:
    """What an input is read from, if its shape is one that the input takes."""
    if kind == JSON:
        return _lists(data, loc)
    if kind == NPY:
        npy = read_npy(data, loc)
        if spec is not None:
            check_shape(npy.shape, spec, loc, settings.max_rows, settings.max_length)
        return npy
    image = read_image(kind, data, ".".join(map(str, loc))[:100])
    if spec is not None:
        height, width = spec.shape[:2] if spec.image_resize is not None else (None, None)
        if height is not None and width is not None and (height, width) != (image.height, image.width):
            image = replace(image, wanted=(height, width))
        _check_image(image, spec, loc, settings)
    return image


def _lists(data: memoryview, loc: Loc) -> list[Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MisnamedBodyError(f"expected JSON for {'.'.join(map(str, loc))[:100]}: {error}") from None
    if not isinstance(found, list):
        raise InputError([Problem(loc, "expected a list of rows, received other JSON")])
    return found


def _check_image(image: Image, spec: InputSpec, loc: Loc, settings: Settings) -> None:
    """Refuse an image that is not as large as the input, unless it is resized, or has other channels."""
    try:
        check_shape(_shape(image, spec), spec, loc, settings.max_rows, settings.max_length)
    except InputError as error:
        received = f"the image has {image.width} × {image.height} pixels, {'grey' if image.channels == 1 else 'RGB'}"
        remedy = "and is taken as it is: resize and convert it before it is sent, as in training"
        if spec.image_resize is not None:
            remedy = "and is resized, but not converted: convert it before it is sent"
        elif _could_be_resized(image, spec):
            remedy += ", or import the model with --image-resize METHOD"
        hint = f"{received}, {remedy}"
        raise InputError([Problem(p.loc, f"{p.msg}; {hint}") for p in error.problems]) from None


def _could_be_resized(image: Image, spec: InputSpec) -> bool:
    """Whether only its size is another one than the input's."""
    shape = _shape(image, spec)[1:]
    return len(shape) == len(spec.shape) and None not in spec.shape[:2] and shape[2:] == spec.shape[2:]


def _shape(image: Image, spec: InputSpec) -> tuple[int, ...]:
    """The shape of one row: an input of two axes takes grey images without an axis of channels."""
    flat = len(spec.shape) == 2 and image.channels == 1
    return (1, *image.sides) if flat else (1, *image.sides, image.channels)


def _rows(source: Source, spec: InputSpec, loc: Loc, settings: Settings, images: ImageReader) -> Array | list[Any]:
    """What the checks of JSON take for an input."""
    if isinstance(source, NpzMember):
        source = source.read(loc)
        check_shape(source.shape, spec, loc, settings.max_rows, settings.max_length)
    if isinstance(source, NpyArray):
        return source.array(loc)
    if isinstance(source, list):
        return source
    pixels = images.decode(source)
    if source.alpha:
        if pixels[..., -1].min() < _OPAQUE:
            raise InputError([Problem(loc, "expected an opaque image, received one with transparent pixels")])
        pixels = pixels[..., :-1]
    if source.wanted is not None and spec.image_resize is not None:
        pixels = images.resize(pixels, source.wanted, spec.image_resize)
        if numpy_dtype(spec.dtype).kind in "iu":
            pixels = np.clip(np.rint(pixels), 0, _OPAQUE).astype(np.uint8)
    return pixels.reshape(_shape(source, spec))
