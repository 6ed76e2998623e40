"""What is worked around of BentoML: a test fails once BentoML no longer does it."""

from __future__ import annotations

import asyncio
from typing import Any

from bentoml._internal.server.http.traffic import TimeoutMiddleware

from thinned.service.app import UncertaintyService
from thinned.service.http.fast_path import FastPath


def test_bentoml_still_leaves_a_timer_behind_for_every_request() -> None:
    """When this fails, `TimeoutMiddleware` cancels its timers, and need not be left out."""

    async def answer(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> int:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        real = loop.call_later
        loop.call_later = lambda *a, **k: timers.append(real(*a, **k)) or timers[-1]  # type: ignore[method-assign, func-returns-value]
        app = TimeoutMiddleware(answer, timeout=60)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(_: Any) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        for _ in range(3):
            await app(scope, receive, send)
        left = sum(not timer.cancelled() for timer in timers)
        for timer in timers:
            timer.cancel()
        return left

    assert asyncio.run(ask()) == 3


def test_the_lanes_stand_outermost() -> None:
    app = UncertaintyService.to_asgi()
    assert app.user_middleware[0].cls is FastPath
    assert set(app.user_middleware[0].kwargs["lanes"]) == {"/predict", "/predict_mc"}
