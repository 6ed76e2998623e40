"""What is worked around of BentoML: a test fails once BentoML no longer does it."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.server.http.traffic import TimeoutMiddleware

from thinned.models.compat.bentoml import ACCESS_LOG, METRICS, costly_middlewares, model_store_folder
from thinned.service.app import UncertaintyService
from thinned.service.http.middleware import ProblemMiddleware
from thinned.service.http.request_log import RequestLog


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


def test_metrics_and_log_of_every_request_still_cost_a_middleware_each() -> None:
    """When this fails, BentoML names or places its middlewares otherwise: look at `costly_middlewares` again."""
    names = [getattr(m.cls, "__name__", "") for m in bentoml.Service.to_asgi(UncertaintyService).user_middleware]
    assert costly_middlewares() <= {*names, "OpenTelemetryMiddleware"}
    assert {"OpenTelemetryMiddleware", METRICS, ACCESS_LOG} <= set(names)


def test_ours_stand_outermost_and_the_costly_ones_are_left_out() -> None:
    classes = [middleware.cls for middleware in UncertaintyService.to_asgi().user_middleware]
    assert classes[:2] == [RequestLog, ProblemMiddleware]
    assert not {getattr(cls, "__name__", "") for cls in classes} & costly_middlewares()


def test_there_is_still_no_public_way_to_the_models_folder_nor_to_create_elsewhere() -> None:
    """When this fails, `bentoml.models` tells its folder, or takes another: use that."""
    assert not {"store_dir", "path", "folder", "store"} & set(dir(bentoml.models))
    public = [name for name in inspect.signature(bentoml.models.create).parameters if not name.startswith("_")]
    assert "model_store" not in public
    assert "store" not in public
    assert model_store_folder().is_dir()


def test_bento_builds_still_leave_links_out(tmp_path: Path) -> None:
    """When this fails, a bento keeps `thinned/models` and its like, and `thinned/__init__` need not look beside it."""
    source = inspect.getsource(bentoml.Bento.create)
    assert "for root, _, files in os.walk(ctx_path)" in source
    assert "followlinks" not in source
