"""How a body is read: packed, slowly, beside many others, and no further than the limits."""

from __future__ import annotations

import asyncio
import gzip
import math
import time
import tracemalloc
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinned.models import errors
from thinned.service.http import body_reader
from thinned.service.http.body_reader import longest_timeout_ms, read_body
from thinned.service.inference.memory import MemoryBudget
from thinned.service.settings import Settings

LIMIT = 1 << 20
SETTINGS = Settings(max_body_bytes=LIMIT)
Parts = list[bytes]


async def read(
    parts: Parts,
    *headers: tuple[bytes, bytes],
    budget: MemoryBudget | None = None,
    settings: Settings = SETTINGS,
    every_s: float = 0.0,
) -> bytes:
    left = list(parts)

    async def receive() -> Any:
        if len(left) < len(parts):
            await asyncio.sleep(every_s)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    hold = (budget or MemoryBudget(1 << 30)).hold()
    try:
        return await read_body({"headers": list(headers)}, receive, settings, time.monotonic(), hold)
    finally:
        hold.release()


GZIP = (b"content-encoding", b"gzip")


def cut(whole: bytes, at: list[int]) -> Parts:
    ends = sorted({min(place, len(whole)) for place in at} | {0, len(whole)})
    return [whole[a:b] for a, b in pairwise(ends)] or [b""]


@given(st.binary(max_size=3000), st.integers(1, 100), st.lists(st.integers(0, 4000), max_size=5), st.booleans())
def test_a_body_is_what_was_sent(body: bytes, times: int, at: list[int], packed: bool) -> None:
    whole = body * times
    sent = gzip.compress(whole) if packed else whole
    headers = [GZIP] if packed else []
    assert asyncio.run(read(cut(sent, at), *headers)) == whole


@pytest.mark.parametrize("encoding", [b"gzip", b"GZip", b" x-gzip "])
def test_gzip_has_these_names(encoding: bytes) -> None:
    assert asyncio.run(read([gzip.compress(b"{}")], (b"content-encoding", encoding))) == b"{}"


@pytest.mark.parametrize("encoding", [b"identity", b""])
def test_an_encoding_that_is_none(encoding: bytes) -> None:
    assert asyncio.run(read([b"{}"], (b"content-encoding", encoding))) == b"{}"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-encoding", b"br")],
        [(b"content-encoding", b"deflate")],
        [(b"content-encoding", b"gzip, gzip")],
        [GZIP, GZIP],
        [(b"content-encoding", b"\xff" * 3000)],
    ],
)
def test_every_other_encoding_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(errors.UnsupportedEncodingError, match="gzip"):
        asyncio.run(read([b"{}"], *headers))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{}",
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}")[:-8] + b"\0" * 8,
        gzip.compress(b"{}") + b"more",
        gzip.compress(b"{}") * 2,
        zlib.compress(b"{}"),
        b"\x1f\x8b" + b"\xff" * 100,
    ],
    ids=["nothing", "JSON", "its end missing", "another sum", "more behind", "two", "deflate", "noise"],
)
@pytest.mark.parametrize("pieces", [1, 5])
def test_broken_gzip_is_refused(sent: bytes, pieces: int) -> None:
    with pytest.raises(errors.MalformedBodyError, match="gzip"):
        asyncio.run(read(cut(sent, [len(sent) * n // pieces for n in range(pieces)]), GZIP))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(b"[" * (1 << 30), compresslevel=1)
    assert len(bomb) > LIMIT  # It would be refused for its own length.
    inner = gzip.compress(b"[" * (256 << 20))
    assert len(inner) < LIMIT
    budget = MemoryBudget(1 << 30)
    tracemalloc.start()
    try:
        for sent in (bomb, inner):
            with pytest.raises(errors.BodyTooLargeError, match="1048576 bytes"):
                asyncio.run(read([sent], GZIP, budget=budget))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * LIMIT
    assert budget.total == 0


def test_the_limit_holds_for_what_is_unpacked_to_the_byte() -> None:
    assert len(asyncio.run(read([gzip.compress(b" " * LIMIT)], GZIP))) == LIMIT
    with pytest.raises(errors.BodyTooLargeError):
        asyncio.run(read([gzip.compress(b" " * (LIMIT + 1))], GZIP))


def test_others_are_answered_while_a_body_is_unpacked() -> None:
    whole = 16 << 20

    async def turns() -> int:
        settings = Settings(max_body_bytes=whole)
        reading = asyncio.create_task(read([gzip.compress(b"[" * whole)], GZIP, settings=settings))
        turned = 0
        while not reading.done():
            await asyncio.sleep(0)
            turned += 1
        assert len(await reading) == whole
        return turned

    assert asyncio.run(turns()) >= whole // body_reader.PIECE


def test_what_is_unpacked_counts_as_held() -> None:
    budget = MemoryBudget(LIMIT)
    budget.hold().take("bodies", LIMIT // 2)
    with pytest.raises(errors.OverloadedError, match="bodies"):
        asyncio.run(read([gzip.compress(b" " * LIMIT)], GZIP, budget=budget))


def test_a_body_below_its_rate_is_ended_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_reader, "GRACE_S", 0.2)
    settings = Settings(body_bytes_per_s=1000)
    began = time.monotonic()
    with pytest.raises(errors.BodyTooSlowError, match="1000 bytes of the body a second"):
        asyncio.run(read([b"1"] * 1000, settings=settings, every_s=0.02))
    assert 0.15 < time.monotonic() - began < 1.0
    # Twice as fast as it must be, it takes longer than the grace and comes whole.
    assert len(asyncio.run(read([b"1" * 100] * 10, settings=settings, every_s=0.05))) == 1000
    assert len(asyncio.run(read([b"1"] * 10, settings=Settings(body_bytes_per_s=0), every_s=0.05))) == 10


def test_a_body_has_a_deadline_however_fast_it_comes() -> None:
    settings = Settings(body_timeout_s=0.3, body_bytes_per_s=1)
    with pytest.raises(errors.BodyTooSlowError, match=r"within 0\.3 s, received \d+"):
        asyncio.run(read([b"1" * 100] * 1000, settings=settings, every_s=0.01))


def test_so_many_bodies_may_be_on_their_way_and_small_ones_pass_them() -> None:
    async def main() -> None:
        budget, settings = MemoryBudget(1 << 30), Settings(max_bodies=2)
        on_their_way = [
            asyncio.create_task(read([b"1"] * 5, budget=budget, settings=settings, every_s=0.05)) for _ in range(2)
        ]
        await asyncio.sleep(0.02)
        assert budget.arriving == 2
        with pytest.raises(errors.OverloadedError, match="2 bodies are on their way"):
            await read([b"1", b"2"], budget=budget, settings=settings)
        assert await read([b"{}"], budget=budget, settings=settings) == b"{}"
        assert await asyncio.gather(*on_their_way) == [b"11111"] * 2
        assert (budget.arriving, budget.total) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "timeout"),
    [
        (b'{"inputs": [[1]]}', 30_000),
        (b'{"inputs": [[1]], "timeout_ms": 250}', 250),
        (b'{"timeout_ms" :\n2.5e2, "inputs": [[1]]}', 250),
        (b'{"timeout_ms": 250, "inputs": [["\\"timeout_ms\\": 1, \\"timeout_ms\\":9"]]}', 250),
        (b'{"timeout_ms": 250, "inputs": [["a", {"timeout_ms": 900}]]}', 900),
        (b'{"timeout_ms": "soon"}', math.inf),
        (b'{"timeout_ms": 1.2.3}', math.inf),
        (b'{"timeout_ms": 250}' + b" " * 70_000, math.inf),
    ],
)
def test_the_time_that_a_body_gives_is_known_before_it_is_parsed(body: bytes, timeout: float) -> None:
    """Never less than parsing would tell: a request may be refused by it."""
    assert longest_timeout_ms(body, 30_000) == timeout
