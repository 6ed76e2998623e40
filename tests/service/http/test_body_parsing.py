"""Where a body is parsed, and that the event loop stands still for none of them."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.service.conftest import Served
from thinned.models.errors import InputError, MalformedBodyError
from thinned.service.http import body_parsing
from thinned.service.http.body_parsing import Asked, read_request
from thinned.service.schema.request_body import check_structure
from thinned.service.schema.request_fields import PredictRequest, read_predict

Serve = Callable[..., Served]


def read(served: Served, body: bytes, check: Callable[[Mapping[str, object]], Any] | None = None) -> PredictRequest:
    card, settings = served.manager.stored.card, served.manager.settings

    async def main() -> PredictRequest:
        async def never() -> None:
            await asyncio.Event().wait()

        manager = served.manager
        asked = Asked(never, time.monotonic(), 60.0, manager.memory.hold(), manager.metrics)
        try:
            return await read_request(body, asked, check or (lambda d: read_predict(d, card, settings)), card, settings)
        finally:
            asked.hold.release()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "here"),
    [
        (b'{"inputs": [[1, 2, 3]]}', True),
        (b'{"inputs": [%b]}' % b",".join([b"[1,2,3]"] * 1000), True),
        (b'{"inputs": [%b]}' % b",".join([b"[0.123456789012345678901234567890,2,3]"] * 2000), False),
        (b'{"inputs": [["1"%b]]}' % (b',"1"' * 1000), False),
    ],
    ids=["small", "8 kB", "80 kB", "strings"],
)
def test_what_is_quick_is_parsed_in_the_event_loop(classes: Served, body: bytes, here: bool) -> None:
    seen: list[bool] = []

    def check(_: Mapping[str, object]) -> Any:
        seen.extend((threading.current_thread() is threading.main_thread(), gc.isenabled()))
        raise InputError([])

    with pytest.raises(InputError):
        read(classes, body, check)
    # Where it takes long, nothing is collected meanwhile; afterwards it is.
    assert seen == [here, here]
    assert gc.isenabled()


def test_what_is_wrong_is_said_in_a_thread(classes: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"{%b}" % b",".join([b'"a%05d":1' % i for i in range(5000)] + [b'"a00007":1'])
    threads: list[threading.Thread] = []
    real = body_parsing.parse

    def noting(body: bytes) -> dict[str, object]:
        threads.append(threading.current_thread())
        return real(body)

    monkeypatch.setattr(body_parsing, "parse", noting)
    with pytest.raises(MalformedBodyError, match="a00007"):
        read(classes, body)
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(("piece", "name"), [(b"[]", "lists"), (b"{}", "objects")])
def test_far_too_many_lists_are_refused_before_they_are_made(classes: Served, piece: bytes, name: str) -> None:
    body = b'{"inputs":[' + (piece + b",") * 5_000_000 + b"[]]}"
    began = time.monotonic()
    with pytest.raises(MalformedBodyError, match=f"at most .* {name}"):
        read(classes, body)
    assert time.monotonic() - began < 0.5


def test_some_too_many_are_told_with_their_place(serve: Serve, models: dict[str, str]) -> None:
    small = serve(models["classes"], max_rows=500)
    body = json.dumps({"inputs": [[0.123456789012345, 1.0, 2.0]] * 1500}).encode()
    assert len(body) < body_parsing.INLINE_BYTES
    for sent in (body, body + b" " * body_parsing.INLINE_BYTES):
        with pytest.raises(InputError, match="500 rows"):
            read(small, sent)


def test_brackets_in_text_are_no_lists(classes: Served) -> None:
    card = classes.manager.stored.card
    text = card.model_copy(update={"inputs": [card.inputs[0].model_copy(update={"dtype": "string"})]})
    check_structure(b"[" * 1_000_000, text, classes.manager.settings)
    with pytest.raises(MalformedBodyError):
        check_structure(b"[" * 1_000_000, card, classes.manager.settings)


def test_lengths_that_vary_may_have_as_many_lists_as_they_need(several: Served) -> None:
    manager = several.manager
    check_structure(b"[" * manager.settings.max_rows * 2, manager.stored.card, manager.settings)
