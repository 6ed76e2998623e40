"""What is worked around of BentoML: a test fails once BentoML no longer does it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bentoml
import bentoml.serving
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import ModelStore
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml._internal.service import loader
from bentoml._internal.utils import circus
from bentoml.images import Image

from thinned.models.compat.bentoml import (
    ACCESS_LOG,
    METRICS,
    bare_image,
    close_side_doors,
    costly_middlewares,
    model_store_folder,
)
from thinned.service.app import UncertaintyService
from thinned.service.http.access import AccessMiddleware
from thinned.service.http.middleware import ProblemMiddleware
from thinned.service.http.request_log import RequestLog
from thinned.service.http.tracing import TraceMiddleware


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
    assert classes[:4] == [RequestLog, ProblemMiddleware, TraceMiddleware, AccessMiddleware]
    assert not {getattr(cls, "__name__", "") for cls in classes} & costly_middlewares()


def test_there_is_still_no_public_way_to_the_models_folder_nor_to_create_elsewhere() -> None:
    """When this fails, `bentoml.models` tells its folder, or takes another: use that."""
    assert not {"store_dir", "path", "folder", "store"} & set(dir(bentoml.models))
    public = [name for name in inspect.signature(bentoml.models.create).parameters if not name.startswith("_")]
    assert "model_store" not in public
    assert "store" not in public
    assert model_store_folder().is_dir()


def test_a_bento_that_holds_its_models_has_them_found(tmp_path: Path) -> None:
    """As BentoML's loader replaces the store; when its own lookup of models needs no store, ours need not either."""
    before = model_store_folder()
    BentoMLContainer.model_store.set(ModelStore(tmp_path))
    try:
        assert model_store_folder() == tmp_path
    finally:
        BentoMLContainer.model_store.reset()
    assert model_store_folder() == before
    assert "BentoMLContainer.model_store.set(model_store)" in inspect.getsource(loader.import_service.__wrapped__)


def test_bentoml_still_adds_a_compiler_to_every_image_of_a_distribution_that_it_knows() -> None:
    """When this fails, `bare_image` need name no distribution that BentoML does not know."""
    assert "build-essential" in Image(distro="debian").commands[0]
    assert "build-essential" in Image(base_image="python:3.11-slim").commands[0]
    assert bare_image().commands == []


def test_bento_builds_still_leave_links_out(tmp_path: Path) -> None:
    """When this fails, a bento keeps `thinned/models` and its like, and `thinned/__init__` need not look beside it."""
    source = inspect.getsource(bentoml.Bento.create)
    assert "for root, _, files in os.walk(ctx_path)" in source
    assert "followlinks" not in source


def test_bentoml_still_opens_ports_for_its_process_manager_and_wipes_a_shared_folder() -> None:
    """When this fails, `close_side_doors` need not replace the one or the other."""
    source = Path(circus.__file__).read_text()
    assert 'endpoint=f"tcp://127.0.0.1:{endpoint_port}"' in source
    assert 'pubsub_endpoint=f"tcp://127.0.0.1:{pubsub_port}"' in source
    source = Path(bentoml.serving.__file__).read_text()
    assert "directory: str = Provide[BentoMLContainer.prometheus_multiproc_dir]" in source
    assert "shutil.rmtree(str(path))" in source


def test_bentoml_still_looks_both_up_when_it_serves() -> None:
    """When this fails, they are replaced too late."""
    from _bentoml_impl.server import serving

    source = inspect.getsource(serving.serve_http)
    assert "from bentoml._internal.utils.circus import create_standalone_arbiter" in source
    assert "from bentoml.serving import ensure_prometheus_dir" in source


@pytest.mark.parametrize("reloads", [False, True])
def test_the_process_manager_gets_no_ports(reloads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    class Noting:
        def __init__(self, watchers: Any, **options: Any) -> None:
            made.update(options, watchers=watchers)
            self.exit_stack = contextlib.ExitStack()
            made["arbiter"] = self

    monkeypatch.setattr(circus, "Arbiter", Noting)
    close_side_doors()
    watcher = SimpleNamespace(send_hup=False, respawn=False)
    circus.create_standalone_arbiter([watcher], sockets=[], **({"plugins": [{}]} if reloads else {}))
    assert watcher.send_hup
    addresses = [made["endpoint"], made["pubsub_endpoint"]]
    assert len(set(addresses)) == 2
    if not reloads:
        assert all(address.startswith("inproc://") for address in addresses)
        return
    (folder,) = {Path(address.removeprefix("ipc://")).parent for address in addresses}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    made["arbiter"].exit_stack.close()
    assert not folder.exists()


def test_each_service_gets_a_folder_of_its_own_for_metrics() -> None:
    close_side_doors()
    first, second = (Path(bentoml.serving.ensure_prometheus_dir()) for _ in range(2))
    assert first != second
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert not first.is_relative_to(model_store_folder().parent)
    for folder in (first, second):
        folder.rmdir()
