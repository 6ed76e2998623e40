"""Bodies that are arrays, archives, images and forms: answered as the same rows in JSON, or refused with the cause."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from PIL import Image

from tests.service.cards import COLOUR as WORDS
from tests.service.cards import card
from tests.service.conftest import Served
from thinned.models.card import ImageResize, InputSpec
from thinned.models.errors import BodyTooLargeError, InputError
from thinned.models.storage.importing import import_model
from thinned.service.inference.image_pixels import decode_image, resize_image
from thinned.service.schema.raw_body import Form, ImageReader, open_body
from thinned.service.schema.request_fields import read_predict
from thinned.service.settings import Settings

Serve = Callable[..., Served]
NPY, NPZ = "application/x-npy", "application/x-npz"
IMAGES = ImageReader(decode_image, resize_image)
ROWS = np.array([[0.5, -1, 2], [1, 0, 0.25]], np.float32)
TOKENS = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
GREY = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def pictures(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    """Models of a grey and of a colour image, whose answers are a map of three classes and a map of numbers."""
    import keras
    from keras import layers as L

    keras.utils.set_random_seed(2)
    folder = tmp_path_factory.mktemp("pictures")
    grey, colour = keras.Input((6, 8), name="grey"), keras.Input((6, 8, 3), name="colour")
    flat = L.Reshape((6, 8))(L.Dense(48)(L.Dropout(0.5)(L.Flatten()(L.Rescaling(1 / 255)(grey)))))
    mask = L.Conv2D(3, 1, activation="softmax", name="mask")(L.Dropout(0.5)(L.Rescaling(1 / 255)(colour)))
    made = {"grey": keras.Model(grey, flat), "colour": keras.Model(colour, mask)}
    tasks: dict[str, Any] = {"grey": {None: "regression"}, "colour": {None: "classification"}}
    for name, model in made.items():
        model.save(folder / f"{name}.keras")
        import_model(folder / f"{name}.keras", name=f"raw-{name}", tasks=tasks[name])
    made["resized"], tasks["resized"] = made["colour"], tasks["colour"]
    import_model(folder / "colour.keras", name="raw-resized", tasks=tasks["colour"], image_resize={None: "bilinear"})
    return {name: serve(f"raw-{name}") for name in made}


def npy(array: Any, **named: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **named)
    return content.getvalue()


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    return content.getvalue()


def image(pixels: Any, kind: str = "PNG", **named: Any) -> bytes:
    content = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(content, kind, **named)
    return content.getvalue()


def head(descr: str, shape: str, rest: bytes = b"", fortran: str = "False", version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + rest


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, bits: int = 8, colour: int = 0, *, more: bytes = b"", pixels: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + png_chunk(b"IDAT", zlib.compress(pixels)) + png_chunk(b"IEND", b"")


def send(served: Served, body: bytes, kind: str, path: str = "/predict", **named: Any) -> Any:
    headers = {"content-type": kind, **named.pop("headers", {})}
    return served.ask("POST", path, content=body, headers=headers, **named)


def same_as_json(served: Served, response: Any, path: str = "/predict", **fields: Any) -> None:
    inputs = {n: x.tolist() for n, x in fields["inputs"].items()} if isinstance(fields["inputs"], dict) else None
    fields["inputs"] = inputs or fields["inputs"].tolist()
    assert response.status_code == 200, response.text
    expected = served.ask("POST", path, json=fields)
    if path == "/predict":
        assert response.content == expected.content
        return
    # Passes may be cut into other calls, by what calls have taken, which rounds otherwise.
    found, told = dict(flat(response.json())), dict(flat(expected.json()))
    assert set(found) == set(told)
    for place, value in told.items():
        assert found[place] == (pytest.approx(value, rel=1e-4, abs=1e-7) if type(value) is float else value), place


def flat(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What stands at every place of a document."""
    if not isinstance(value, dict | list):
        yield place, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from flat(inner, (*place, key))


def refused(response: Any, status: int, *said: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    problem = dict(response.json())
    assert response.headers["content-type"] == "application/problem+json"
    for text in said:
        assert text in json.dumps(problem, ensure_ascii=False, separators=(",", ":"))
    return problem


# Arrays


@pytest.mark.parametrize(
    "array",
    [
        ROWS,
        ROWS.astype(">f8"),
        ROWS.astype(np.float16),
        np.asfortranarray(ROWS),
        np.round(ROWS).astype(np.int8),
        np.round(ROWS).astype(">i8"),
        ROWS[:, ::-1][:, ::-1],
    ],
)
def test_an_npy_is_answered_as_its_rows_in_json(classes: Served, array: Any) -> None:
    same_as_json(classes, send(classes, npy(array), NPY), inputs=array)
    asked = {"n_samples": 40, "seed": 7, "quantiles": [0.1, 0.9], "separate": True}
    response = send(
        classes, npy(array), NPY, "/predict_mc?n_samples=40&seed=7&quantiles=0.1,0.9&separate=true", headers={}
    )
    same_as_json(classes, response, "/predict_mc", inputs=array, **asked)


def test_gzip_is_unpacked_and_memory_given_back(classes: Served) -> None:
    packed = gzip.compress(npy(ROWS))
    same_as_json(classes, send(classes, packed, NPY, headers={"content-encoding": "gzip"}), inputs=ROWS)
    assert classes.manager.memory.total == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_names_its_inputs(several: Served, classes: Served, compressed: bool) -> None:
    body = npz(compressed, x=ROWS, tokens=TOKENS)
    same_as_json(several, send(several, body, NPZ), inputs={"x": ROWS, "tokens": TOKENS})
    same_as_json(classes, send(classes, npz(compressed, x=ROWS), NPZ), inputs={"x": ROWS})
    refused(send(several, npz(compressed, x=ROWS), NPZ), 422, "this input is missing")
    refused(send(several, npz(compressed, x=ROWS, tokens=TOKENS, **{"größe 尺": ROWS}), NPZ), 422, "unknown input")
    refused(send(several, npy(ROWS), NPY), 422, "each by its name; send application/x-npz")


def test_large_bodies_are_read_in_a_thread_within_the_memory(serve: Serve, models: dict[str, str]) -> None:
    many = np.random.default_rng(0).random((100_000, 3), np.float32)
    served = serve(models["classes"], max_rows=500_000, memory_mib=64)
    response = send(served, npy(many), NPY, headers={"accept": NPZ})
    assert response.status_code == 200
    expected = served.manager.engine.model.predict({"x": many[:50]})["y"]
    np.testing.assert_allclose(np.load(io.BytesIO(response.content))["outputs"][:50], expected, atol=1e-6)
    packed = npz(True, x=np.zeros((450_000, 3), np.float32))
    assert len(packed) < 10_000
    for body, kind in ((npy(np.tile(many, (4, 1))), NPY), (packed, NPZ)):
        refused(send(served, body, kind), 413, "MiB for its parsing")
    assert served.manager.memory.total == 0


FINE = ROWS.tobytes()
BROKEN = {
    "empty": (b"", 400, "begins with"),
    "not npy": (b"hello there, this is text", 400, "begins with"),
    "json": (b'{"inputs": [[1, 2, 3]]}', 400, "begins with"),
    "magic alone": (b"\x93NUMPY\x01\x00", 400, "begins with"),
    "version 9": (head("'<f4'", "(2, 3)", FINE).replace(b"\x01", b"\x09", 1), 400, "its version"),
    "truncated header": (npy(ROWS)[:40], 400, "header of at most"),
    "truncated": (npy(ROWS)[:-1], 400, "24 bytes; 23 follow"),
    "too long": (npy(ROWS) + b"x", 400, "24 bytes; 25 follow"),
    "a lie": (head("'<f4'", "(1000000000,)", FINE), 400, "4000000000 bytes; 24 follow"),
    "a huge lie": (head("'<f8'", "(" + "9" * 300 + ",)", FINE), 400, "24 follow"),
    "axes that cancel out": (head("'<f4'", "(0, 1000000000000000000000)"), 422, "at least one row"),
    "no width": (head("'<U0'", "(1000000000, 3)"), 422, "received the dtype '<U0'"),
    "negative": (head("'<f4'", "(-2, -3)", FINE), 400, "a tuple of at most"),
    "true for 1": (head("'<f4'", "(True, 6)", FINE), 400, "a tuple of at most"),
    "a float": (head("'<f4'", "(2.0, 3)", FINE), 400, "a tuple of at most"),
    "40 axes": (head("'<f4'", "(" + "1, " * 40 + ")", FINE[:4]), 400, "at most 32"),
    "objects": (npy(np.array([[1, 2, 3]], object)), 422, "never unpickled"),
    "a record": (npy(np.zeros(2, [("a", "f4"), ("b", "f8")])), 422, "expected numbers, booleans or text"),
    "complex": (npy(ROWS.astype(complex)), 422, "received the dtype '<c16'"),
    "dates": (npy(np.array([["2020-01-01"] * 3], "M8[D]")), 422, "received the dtype '<M8[D]'"),
    "bytes": (npy(np.array([[b"a", b"b", b"c"]])), 422, "received the dtype '|S1'"),
    "a call": (head("__import__('os').abort()", "(2, 3)", FINE), 400, "names descr"),
    "deep": (head("(" * 400 + ")" * 400, "(2, 3)", FINE), 400, "names descr"),
    "no dict": (head("'<f4'", "(2, 3)", FINE).replace(b"{", b"[").replace(b"}", b"]"), 400, "names descr"),
    "booleans": (npy(ROWS > 0), 422, "expected a finite float32 number, received true"),
    "bad booleans": (head("'|b1'", "(1, 3)", b"\x00\x01\x02"), 422, "0 or 1"),
    "nan": (npy(np.array([[1, np.nan, 2]])), 422, '"loc":["inputs",0,1]'),
    "too large for float32": (npy(np.array([[1, 1e39, 2]])), 422, '"loc":["inputs",0,1]'),
    "text": (npy(np.array([["a", "b", "c"]])), 422, "received the string 'a'"),
    "no text": (head("'<U1'", "(1, 3)", b"\xff" * 12), 422, "expected characters of Unicode"),
    "one row": (npy(ROWS[0]), 422, "send a single row as a list of one row"),
    "one number": (npy(np.float32(3)), 422, "expected shape (rows, 3), received ()"),
    "wrong shape": (npy(ROWS.T), 422, "expected shape (rows, 3), received (3, 2)"),
    "too many rows": (npy(np.zeros((2000, 3), np.uint8)), 422, "expected at most 1024 rows, received 2000"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_npy_is_refused_with_the_cause(classes: Served, name: str) -> None:
    body, status, said = BROKEN[name]
    problem = refused(send(classes, body, NPY), status, said)
    titles = {400: "The body is not what its content type says"}
    assert problem["title"] == titles.get(status, "The request does not fit the model or the limits")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("x.npy", body)
    assert send(classes, archive.getvalue(), NPZ).status_code == status


def test_text_comes_as_text() -> None:
    def read(array: Any) -> Any:
        opened = open_body(npy(array), Form(NPY), of, Settings())
        return read_predict(opened.fields(of.inputs, Settings(), IMAGES), of, Settings()).inputs["colour"]

    of = card([WORDS])
    words = np.array([["red"], ["blüe"]])
    for array in (words, words[:, 0], words.astype(">U9")):
        assert read(array).tolist() == [["red"], ["blüe"]]
    for array, said in (
        (np.array([["\udc80"]]), "half of a surrogate pair"),
        (ROWS[:, :1], "a string or null, received 0.5"),
    ):
        with pytest.raises(InputError, match=said):
            read(array)


# Archives


def bomb(declared: int | None = None, size: int = 64 << 20) -> bytes:
    """An archive of a few kB that unpacks to much, and may say that it does not."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", head("'|u1'", f"({size // 3}, 3)", bytes(size // 3 * 3)))
    body = content.getvalue()
    if declared is None:
        return body
    at = body.rindex(b"PK\x01\x02") + 24
    return body[:at] + struct.pack("<I", declared) + body[at + 4 :]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "as numpy.savez writes it"),
        (npy(ROWS), 400, "as numpy.savez writes it"),
        (npz(x=ROWS)[:-1], 400, "as numpy.savez writes it"),
        (npz(x=ROWS)[100:], 400, "expected an .npz archive"),
        (npz(x=ROWS).replace(b"\x93NUMPY", b"\x93NUMPX"), 400, "cannot be unpacked"),
        (bomb(), 413, "unpacked, received one of 67108940"),
        (bomb(200), 400, "expected an .npz archive"),
        (npz(x=np.array([None, 1, 2], object)), 422, "never unpickled"),
    ],
)
def test_a_broken_archive_is_refused_with_the_cause(classes: Served, body: bytes, status: int, said: str) -> None:
    began = time.monotonic()
    refused(send(classes, body, NPZ), status, said)
    assert time.monotonic() - began < 2
    assert classes.manager.memory.total == 0


def test_an_archive_of_other_files_is_refused(classes: Served) -> None:
    def archive(**members: bytes) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", compression) as made, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name twice
            for name, data in members.items():
                made.writestr(name.rstrip("_"), data)
        return content.getvalue()

    compression = zipfile.ZIP_STORED
    refused(send(classes, archive(**{"x.txt": b"1"}), NPZ), 400, "of .npy files, received 'x.txt'")
    refused(send(classes, archive(**{"x.npy": npy(ROWS), "x.npy_": npy(ROWS)}), NPZ), 400, "in the archive twice")
    many = {f"{i}{'n' * 200}.npy": b"" for i in range(300)}
    refused(send(classes, archive(**many), NPZ), 400, "whose directory has at most 65536 bytes")
    compression = zipfile.ZIP_BZIP2
    refused(send(classes, archive(**{"x.npy": npy(ROWS)}), NPZ), 400, "stored or deflated")


# Images


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("name", "pixels"), [("grey", GREY), ("colour", COLOUR)])
def test_an_image_is_answered_as_its_pixels(pictures: dict[str, Served], name: str, pixels: Any, kind: str) -> None:
    body = image(pixels, kind)
    rows = np.asarray(Image.open(io.BytesIO(body)))[np.newaxis]
    response = send(pictures[name], body, f"image/{kind.lower()}")
    assert response.status_code == 200, response.text
    expected = pictures[name].ask("POST", "/predict", json={"inputs": rows.tolist()}).json()
    # Decoders of JPEG may differ by one, of 255.
    np.testing.assert_allclose(response.json()["outputs"], expected["outputs"], atol=0.02 if kind == "JPEG" else 1e-6)


def test_what_of_png_is_taken(pictures: dict[str, Served]) -> None:
    grey, colour = pictures["grey"], pictures["colour"]
    opaque = np.concatenate([COLOUR, np.full((6, 8, 1), 255, np.uint8)], axis=2)
    same_as_json(colour, send(colour, image(opaque), "image/png"), inputs=COLOUR[np.newaxis])
    palette = Image.fromarray(COLOUR).quantize(8)
    rows = np.asarray(palette.convert("RGB"))[np.newaxis]
    same_as_json(colour, send(colour, image(palette), "image/png"), inputs=rows)
    same_as_json(grey, send(grey, image(GREY > 99), "image/png"), inputs=255 * (GREY > 99).astype(int)[np.newaxis])
    texts = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000))) * 900
    rows = b"".join(b"\0" + bytes(row) for row in GREY)
    same_as_json(grey, send(grey, png_of(8, 6, more=texts, pixels=rows), "image/png"), inputs=GREY[np.newaxis])


def test_an_image_that_does_not_fit_is_refused_with_the_cause(pictures: dict[str, Served], classes: Served) -> None:
    grey, colour = pictures["grey"], pictures["colour"]
    wrong = image(np.zeros((9, 8, 3), np.uint8))
    text = "expected shape (rows, 6, 8, 3), received (1, 9, 8, 3); the image has 8 × 9 pixels, RGB, and is taken as it"
    assert refused(send(colour, wrong, "image/png"), 422, text)["errors"][0]["loc"] == ["inputs"]
    refused(send(colour, image(GREY), "image/png"), 422, "8 × 6 pixels, grey")
    refused(send(grey, image(COLOUR), "image/png"), 422, "expected shape (rows, 6, 8), received (1, 6, 8, 3)")
    refused(send(classes, image(GREY), "image/png"), 422, "expected shape (rows, 3)")
    refused(send(colour, png_of(30_000, 30_000, colour=2), "image/png"), 422, "received (1, 30000, 30000, 3)")
    refused(send(grey, png_of(8, 6, 16), "image/png"), 400, "16 bits a channel")
    refused(send(grey, png_of(8, 6, 7), "image/png"), 400, "which no PNG has")
    refused(send(grey, png_of(8, 6, pixels=b"\0"), "image/png"), 400, "is broken")
    refused(send(grey, png_of(8, 6, more=png_chunk(b"acTL", bytes(8))), "image/png"), 400, "animated")
    refused(send(grey, png_of(8, 6, more=png_chunk(b"tRNS", bytes(2))), "image/png"), 400, "transparent")
    refused(send(grey, png_of(0, 6), "image/png"), 400, "received none")
    refused(send(grey, image(GREY)[:-5], "image/png"), 400, "ends too early")
    refused(send(grey, image(GREY) + b"x", "image/png"), 400, "more follows its end")
    refused(send(grey, png_of(8, 6, more=png_chunk(b"IDAT", b"") * 10_000), "image/png"), 400, "10000 chunks")
    glass = np.concatenate([COLOUR, np.full((6, 8, 1), 254, np.uint8)], axis=2)
    refused(send(colour, image(glass), "image/png"), 422, "transparent pixels")


def test_a_jpeg_that_cannot_be_taken_is_refused_with_the_cause(pictures: dict[str, Served]) -> None:
    colour = pictures["colour"]
    fine = image(COLOUR, "JPEG")
    cmyk = image(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")
    refused(send(colour, cmyk, "image/jpeg"), 400, "4 channels (CMYK")
    refused(send(colour, image(COLOUR), "image/jpeg"), 400, "JPEG file for inputs: it does not begin as one")
    refused(send(colour, fine, "image/png"), 400, "PNG file for inputs: it does not begin as one")
    refused(send(colour, fine[:30], "image/jpeg"), 400, "before its frame")
    refused(send(colour, fine[:2] + fine[-2:], "image/jpeg"), 400, "frame")
    frame = fine.index(b"\xff\xc0")
    large = fine[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + fine[frame + 9 :]
    refused(send(colour, large, "image/jpeg"), 422, "received (1, 65500, 65500, 3)")
    deep = fine[: frame + 4] + b"\x0c" + fine[frame + 5 :]
    refused(send(colour, deep, "image/jpeg"), 400, "12 bits a channel")
    scans = image(COLOUR, "JPEG", progressive=True)
    refused(send(colour, scans + b"\xff\xda\x00\x02" * 100, "image/jpeg"), 400, "64 scans")
    assert send(colour, scans, "image/jpeg").status_code == 200


def test_an_image_of_any_size_is_bounded_by_its_pixels() -> None:
    of = card([InputSpec(name="any", shape=(None, None, 3), dtype="float32")])
    small = Settings(max_body_bytes=10_000, max_length=100)
    assert open_body(image(np.zeros((50, 60, 3), np.uint8)), Form("image/png"), of, small).size == 9000
    with pytest.raises(BodyTooLargeError, match="received one of 10800"):
        open_body(image(np.zeros((60, 60, 3), np.uint8)), Form("image/png"), of, small)
    with pytest.raises(InputError, match="with n from 1 to 100"):
        open_body(image(np.zeros((2, 101, 3), np.uint8)), Form("image/png"), of, small)


# Images of another size


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(12, 16), (5, 9), (6, 7), (61, 3)])
def test_an_image_of_another_size_is_resized_as_the_card_says(
    pictures: dict[str, Served], size: tuple[int, int], kind: str
) -> None:
    import tensorflow as tf

    served = pictures["resized"]
    body = image(np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8), kind)
    rows = tf.image.resize(np.asarray(Image.open(io.BytesIO(body))), (6, 8), method="bilinear").numpy()[np.newaxis]
    expected = served.ask("POST", "/predict", json={"inputs": rows.tolist()}).json()["outputs"]
    name = f"image/{kind.lower()}"
    parts = form(("colour", name, body))
    for response in (send(served, body, name), served.ask("POST", "/predict", **parts)):
        assert response.status_code == 200, response.text
        np.testing.assert_allclose(response.json()["outputs"], expected, atol=0.02 if kind == "JPEG" else 1e-6)
    assert served.manager.memory.total == 0


def test_what_is_resized_is_told(pictures: dict[str, Served]) -> None:
    served = pictures["resized"]
    assert served.ask("GET", "/model").json()["inputs"][0]["image_resize"] == "bilinear"
    said = "resized as tf.image.resize does it: colour (bilinear)"
    for name, there in (("resized", True), ("colour", False)):
        paths = pictures[name].ask("GET", "/docs.json").json()["paths"]
        assert all((said in paths[path]["post"]["description"]) is there for path in ("/predict", "/predict_mc"))
    wrong = image(np.zeros((9, 8, 3), np.uint8))
    refused(send(pictures["colour"], wrong, "image/png"), 422, "or import the model with --image-resize METHOD")
    refused(
        send(served, image(np.zeros((9, 8), np.uint8)), "image/png"), 422, "8 × 9 pixels, grey, and is resized, but"
    )
    same = image(COLOUR)
    assert send(served, same, "image/png").content != send(pictures["colour"], wrong, "image/png").content
    same_as_json(served, send(served, same, "image/png"), inputs=COLOUR[np.newaxis])


def test_an_image_is_judged_by_its_declared_size_before_it_is_decoded(pictures: dict[str, Served]) -> None:
    served = pictures["resized"]
    began = time.monotonic()
    for width, height in ((5000, 5000), (16_000_000, 1), (1, 16_000_000), (2**31 - 1, 2**31 - 1)):
        body = png_of(width, height, colour=2)
        refused(send(served, body, "image/png"), 413, "unpacked, received one of", "send a smaller image")
    assert time.monotonic() - began < 2
    # The larger of both heights and of both widths: each side is resized for itself.
    of = card([InputSpec(name="wide", shape=(100, 4, 3), dtype="float32", image_resize="area")])
    assert open_body(image(np.zeros((2, 50, 3), np.uint8)), Form("image/png"), of, Settings()).size == 100 * 50 * 3
    assert served.manager.memory.total == 0


@pytest.mark.parametrize("method", get_args(ImageResize))
def test_methods_are_those_of_tensorflow_and_of_pillow(method: Any) -> None:
    import tensorflow as tf

    smooth = np.add.outer(np.arange(50), np.arange(70))[:, :, np.newaxis] + np.array([40, 60, 80])
    pixels = (smooth + np.random.default_rng(0).integers(0, 10, (50, 70, 3))).astype(np.uint8)
    name, antialias = method.removesuffix("-antialias"), method.endswith("-antialias")
    for sides in ((20, 30), (90, 80)):
        found = resize_image(pixels, sides, method)
        np.testing.assert_array_equal(found, tf.image.resize(pixels, sides, name, antialias=antialias).numpy())
        if antialias:
            theirs = Image.fromarray(pixels).resize(sides[::-1], getattr(Image.Resampling, name.upper()))
            np.testing.assert_allclose(found, np.asarray(theirs), atol=1.1)


def test_what_takes_integers_gets_whole_values() -> None:
    of = card([InputSpec(name="colour", shape=(20, 30, 3), dtype="uint8", image_resize="bicubic")])
    pixels = np.random.default_rng(0).integers(0, 2, (50, 70, 3), np.uint8) * 255
    opened = open_body(image(pixels), Form("image/png"), of, Settings())
    found = read_predict(opened.fields(of.inputs, Settings(), IMAGES), of, Settings()).inputs["colour"]
    exact = resize_image(pixels, (20, 30), "bicubic")
    assert exact.min() < 0 < 255 < exact.max()
    np.testing.assert_array_equal(found[0], np.clip(np.rint(exact), 0, 255))


# Forms


def form(*parts: tuple[str, str | None, bytes]) -> dict[str, Any]:
    """A form of parts, each with its name, content type and content."""
    lines = [
        f'--b0\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
        + (b"" if kind is None else f"Content-Type: {kind}\r\n".encode())
        + b"\r\n"
        + data
        + b"\r\n"
        for name, kind, data in parts
    ]
    return {"content": b"".join(lines) + b"--b0--\r\n", "headers": {"content-type": "multipart/form-data; boundary=b0"}}


def test_a_form_has_a_part_for_each_input(several: Served) -> None:
    x, tokens = ("x", NPY, npy(ROWS)), ("tokens", "application/json", json.dumps(TOKENS.tolist()).encode())
    inputs = {"x": ROWS, "tokens": TOKENS}
    same_as_json(several, several.ask("POST", "/predict", **form(x, tokens)), inputs=inputs)
    asked = {"n_samples": 40, "seed": 7, "quantiles": [0.5]}
    options = [("n_samples", None, b"40"), ("quantiles", "application/json", b"[0.5]")]
    response = several.ask("POST", "/predict_mc?seed=7", **form(x, *options, tokens))
    same_as_json(several, response, "/predict_mc", inputs=inputs, **asked)
    unnamed = form(("x", "application/octet-stream", npy(ROWS)), ("tokens", None, npy(TOKENS)))
    same_as_json(several, several.ask("POST", "/predict", **unnamed), inputs=inputs)
    files = {"x": ("x.npy", npy(ROWS)), "tokens": ("t.npy", npy(TOKENS))}
    made = several.ask("POST", "/predict_mc", files=files, data={"n_samples": "40", "seed": "7", "quantiles": "0.5"})
    same_as_json(several, made, "/predict_mc", inputs=inputs, **asked)


def test_a_form_takes_an_image(pictures: dict[str, Served]) -> None:
    response = pictures["colour"].ask("POST", "/predict", **form(("colour", "image/png", image(COLOUR))))
    same_as_json(pictures["colour"], response, inputs={"colour": COLOUR[np.newaxis]})


def test_a_form_that_does_not_fit_is_refused_with_the_cause(several: Served) -> None:
    def sent(*parts: tuple[str, str | None, bytes]) -> Any:
        return several.ask("POST", "/predict", **form(*parts))

    x, tokens = ("x", NPY, npy(ROWS)), ("tokens", NPY, npy(TOKENS))
    refused(sent(x), 422, "this input is missing")
    refused(sent(x, x, tokens), 422, "every input once")
    refused(sent(x, tokens, ("n_samples", None, b"3")), 422, "unknown field")
    refused(sent(x, tokens, ("timeout_ms", None, b"soon")), 422, "received the string 'soon'")
    refused(sent(x, tokens, ("timeout_ms", None, b"5"), ("timeout_ms", None, b"6")), 422, "every option once")
    refused(sent(x, tokens, ("timeout_ms", None, b"\xff")), 400, "text in UTF-8")
    refused(sent(x, tokens, ("z", "image/gif", b"GIF89a")), 400, "received 'image/gif'")
    refused(sent(x, tokens, ("z", NPY, npy(ROWS))), 422, "unknown input")
    refused(sent(x, ("tokens", "application/json", b"[[1, 2, 3], [NaN]]")), 400, "expected JSON for inputs.tokens")
    refused(sent(x, ("tokens", "application/json", b'{"a": 1}')), 422, "expected a list of rows")
    refused(sent(("x", NPY, npy(ROWS)[:-3]), tokens), 400, "the .npy file for inputs.x says")
    refused(sent(("x", NPY, npy(ROWS[:1])), tokens), 422, "as many as 'x' has")
    refused(sent(*[(f"n{i}", None, b"1") for i in range(101)]), 400, "at most 100 parts")
    assert sent(x, tokens).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--b0--", 400),
        ("multipart/form-data; boundary=", b"--b0--", 400),
        ("multipart/form-data; boundary=b0", b"", 400),
        ("multipart/form-data; boundary=b0", b"--b0--", 422),
        ("multipart/form-data; boundary=b0", b"--b0", 400),
        ("multipart/form-data; boundary=b0", b"--b0\r\n\r\n\r\n--b0--", 400),
        ("multipart/form-data; boundary=b0", b"--b0\r\nA: b\r\n\r\nx\r\n--b0--", 400),
        ("multipart/form-data; boundary=b0", b"--b0\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nx", 400),
        ("multipart/form-data; boundary=b0", b"--b0\r\n\xff\r\n\r\nx\r\n--b0--", 400),
        ("multipart/form-data; boundary=" + "-" * 70, b"-" * 2_000_000, 400),
        ("multipart/mixed; boundary=b0", b"--b0--", 415),
        ("image/gif", b"GIF89a", 415),
        ("application/x-npy, application/json", b"{}", 415),
        ("text/csv", b"1,2,3", 415),
        ("\xff\xfe", b"{}", 415),
        ("application/json", npy(ROWS), 400),
    ],
)  # fmt: skip
def test_wrong_kinds_and_forms(classes: Served, kind: str, body: bytes, status: int) -> None:
    began = time.monotonic()
    headers = [(b"content-type", kind.encode("latin-1"))]
    refused(classes.ask("POST", "/predict", content=body, headers=headers), status)
    assert time.monotonic() - began < 1


def test_two_content_types_are_refused(classes: Served) -> None:
    headers = [("content-type", "application/json"), ("content-type", NPY)]
    response = classes.ask("POST", "/predict", content=b'{"inputs": [[1, 2, 3]]}', headers=headers)
    refused(response, 415, "once, received 'application/json' and 'application/x-npy'")


# Options


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("n_samples", "1", 1),
        ("n_samples", "1.5", 1.5),
        ("n_samples", "many", "many"),
        ("n_samples", "", ""),
        ("seed", "-1", -1),
        ("seed", "true", True),
        ("sampling", "sobol", "sobol"),
        ("quantiles", "0.5,2", [0.5, 2]),
        ("quantiles", "", []),
        ("timeout_ms", "0.5", 0.5),
        ("tolerance", "NaN", "NaN"),
        ("coverage", "0.9", 0.9),
        ("separate", "yes", "yes"),
        ("estimator", "worst", "worst"),
        ("temperature", "3", 3),
    ],
)
def test_options_are_checked_as_those_of_json(classes: Served, field: str, text: str, value: object) -> None:
    raw = send(classes, npy(ROWS), NPY, "/predict_mc", params={field: text})
    in_json = classes.ask("POST", "/predict_mc", json={"inputs": ROWS.tolist(), field: value})
    assert raw.status_code == in_json.status_code in (409, 422)
    assert raw.json() == in_json.json()


def test_where_an_option_does_not_belong(classes: Served) -> None:
    refused(send(classes, npy(ROWS), NPY, "/predict?inputs=[[1,2,3]]"), 422, "expected in the body")
    refused(send(classes, npy(ROWS), NPY, "/predict_mc?seed=1&seed=2"), 422, "every option once")
    refused(send(classes, npy(ROWS), NPY, "/predict_mc?" + "a=1&" * 200), 422, "at most 100 query parameters")
    body = {"inputs": ROWS.tolist()}
    refused(classes.ask("POST", "/predict_mc?n_samples=100", json=body), 422, "expected in the JSON body")
    refused(classes.ask("POST", "/predict_mc?field=mean", json=body), 422, "only an answer of image/png has it")
    assert classes.ask("POST", "/predict_mc?cache=1", json=body).status_code == 200


@trying(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_body_is_answered_500(classes: Served, pictures: dict[str, Served], data: st.DataObject) -> None:
    """Bodies that were right, with some of their bytes changed, cut off or put twice."""
    whole: list[tuple[Served, str, bytes]] = [
        (classes, NPY, npy(ROWS)),
        (classes, NPZ, npz(x=ROWS)),
        (classes, NPZ, npz(True, x=ROWS)),
        (pictures["grey"], "image/png", image(GREY)),
        (pictures["colour"], "image/jpeg", image(COLOUR, "JPEG")),
        (classes, "multipart/form-data; boundary=b0", form(("x", NPY, npy(ROWS)), ("seed", None, b"3"))["content"]),
    ]
    served, kind, body = data.draw(st.sampled_from(whole))
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed)))
        length = data.draw(st.integers(0, 8))
        changed[at : at + length] = data.draw(st.binary(max_size=8))
    assert send(served, bytes(changed), kind, "/predict_mc").status_code in (200, 400, 413, 422)
