"""What a worker process sets up around the model: its log, its tokens, its watchdog, its part of the metrics."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.types import ASGIApp

from thinned.models.compat.bentoml import metrics_folder_variable
from thinned.models.errors import ReloadError, SettingsError
from thinned.service.http.log_format import set_log_format
from thinned.service.http.metrics_port import MetricsPort, parse_address
from thinned.service.http.named_models import metrics_of
from thinned.service.http.tokens import Tokens
from thinned.service.http.tracing import make_traces
from thinned.service.http.watchdog import Watchdog
from thinned.service.inference.catalogue import Catalogue
from thinned.service.metrics.exposition import exposition
from thinned.service.metrics.workers import Workers
from thinned.service.settings import Settings

if TYPE_CHECKING:
    from thinned.service.http.grpc_server import GrpcServer

__all__ = ["Worker", "check_settings", "end_worker", "set_up_worker", "shared_folder"]

log = logging.getLogger("bentoml.thinned")


def check_settings(settings: Settings) -> None:
    """Set up the log of the process that starts the workers, and find out whether they will start.

    Raises:
        SettingsError: The file of tokens, the address or the exporter of traces cannot be used.
    """
    set_log_format(settings.log_format)
    if settings.tokens is not None:
        Tokens(settings.tokens)
    if settings.metrics_address is not None:
        _address("METRICS", settings.metrics_address)
    if settings.grpc_address is not None:
        _address("GRPC", settings.grpc_address)
        _grpc_server()
    traces = make_traces(settings.traces, lambda _: settings.model)
    if traces is not None:
        traces.close()


class Worker:
    """A worker as its server sees it: whether it takes connections, and that it begins to leave.

    Args:
        models: Holds its models.
        watchdog: Is told that the event loop turns.
    """

    def __init__(self, models: Catalogue, watchdog: Watchdog) -> None:
        self._models, self._watchdog = models, watchdog
        settings = models.settings
        self._refuse_unready = settings.refuse_unready
        self.drain_s = settings.drain_s
        self.longest_request_s = math.ceil(settings.max_timeout_ms / 1000 + settings.body_timeout_s)

    def beat(self) -> None:
        """The event loop turns."""
        self._watchdog.beat()

    def accepts(self) -> bool:
        """Whether connections are taken here: by a worker that is ready, and by all while none is."""
        return self._models.is_ready() or not self._models.siblings.one_is_ready()

    def refuses(self) -> bool:
        """Whether connections that are taken are ended at once, so that a balancer turns to another replica."""
        return self._refuse_unready and not self._models.is_ready()

    def leave(self) -> None:
        """Requests should be sent here no longer."""
        self._models.leave()

    def grpc_server(self, app: ASGIApp) -> GrpcServer | None:
        """What answers gRPC by this application, once it is started; None where nothing is to."""
        settings = self._models.settings
        if settings.grpc_address is None:
            return None
        return _grpc_server()(app, _address("GRPC", settings.grpc_address), settings, self._models.first.memory.limit)


def set_up_worker(app: Starlette, models: Catalogue) -> None:
    """Put into `app.state` what the routes, the middlewares and the server look up there.

    Raises:
        SettingsError: The file of tokens cannot be used.
    """
    settings = models.settings
    set_log_format(settings.log_format)
    folder = shared_folder()
    app.state.models, metrics = models, models.first.metrics
    app.state.tokens = Tokens(settings.tokens) if settings.tokens is not None else None
    app.state.workers = Workers(metrics, folder)
    app.state.workers.start()
    app.state.traces = make_traces(settings.traces, lambda path: metrics_of(models, path).model)
    app.state.metrics_port = None
    if settings.metrics_address is not None:
        workers = app.state.workers
        app.state.metrics_port = MetricsPort(
            _address("METRICS", settings.metrics_address), lambda accept: exposition(metrics, workers, accept)
        )
        app.state.metrics_port.start()
    app.state.watchdog = Watchdog(settings.wedged_s, models.stuck_s)
    app.state.watchdog.start()
    app.state.worker = Worker(models, app.state.watchdog)
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        # Without a handler the signal would end the worker.
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=_read_again, args=(app,), daemon=True).start())
    models.siblings.join()


def shared_folder() -> Path | None:
    """The folder that the workers of this service share, and no other service; None where there is none."""
    folder = os.environ.get(metrics_folder_variable)
    return Path(folder) if folder else None


def _read_again(app: Starlette) -> None:
    """At SIGHUP: read the tokens again, and serve what each model's name stands for today."""
    reread_tokens(app.state.tokens)
    try:
        done = app.state.models.reload()
    except ReloadError as error:
        log.error("%s", error)
        return
    for stored, changed in done:
        log.info("%s is served%s", stored.tag, "" if changed else " already")


def reread_tokens(tokens: Tokens | None) -> None:
    """Read the file of tokens again. One that cannot be used changes nothing."""
    if tokens is None:
        return
    try:
        tokens.reread()
    except SettingsError as error:
        log.error("the tokens stay as they were: %s", error)
    else:
        log.info("the tokens were read again")


def end_worker(app: Starlette) -> None:
    """Leave this worker's counts to the others, and its place where metrics are answered."""
    app.state.watchdog.close()
    app.state.models.siblings.leave()
    if app.state.metrics_port is not None:
        app.state.metrics_port.close()
    if app.state.traces is not None:
        app.state.traces.close()
    app.state.workers.close()


def _grpc_server() -> type[GrpcServer]:
    try:
        from thinned.service.http.grpc_server import GrpcServer
    except ImportError:
        raise SettingsError(
            "THINNED_GRPC_ADDRESS is set, and grpcio or protobuf is not installed; pip install 'thinned[grpc]'"
        ) from None
    return GrpcServer


def _address(what: str, text: str) -> tuple[str, int]:
    try:
        return parse_address(text)
    except ValueError as error:
        raise SettingsError(f"THINNED_{what}_ADDRESS: {error}, received {text!r}") from None
