"""What a worker process sets up around the model: its log, its tokens, its part of the service's metrics."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

from starlette.applications import Starlette

from thinned.models.compat.bentoml import metrics_folder_variable
from thinned.models.errors import SettingsError
from thinned.service.http.log_format import set_log_format
from thinned.service.http.metrics_port import MetricsPort, parse_address
from thinned.service.http.tokens import Tokens
from thinned.service.http.tracing import make_traces
from thinned.service.inference.model_manager import ModelManager
from thinned.service.metrics.exposition import exposition
from thinned.service.metrics.workers import Workers
from thinned.service.settings import Settings

__all__ = ["check_settings", "end_worker", "set_up_worker"]

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
        _address(settings.metrics_address)
    traces = make_traces(settings.traces, settings.model)
    if traces is not None:
        traces.close()


def set_up_worker(app: Starlette, manager: ModelManager) -> None:
    """Put into `app.state` what the routes and the middlewares look up there.

    Raises:
        SettingsError: The file of tokens cannot be used.
    """
    settings = manager.settings
    set_log_format(settings.log_format)
    folder = os.environ.get(metrics_folder_variable)
    app.state.manager = manager
    app.state.tokens = Tokens(settings.tokens) if settings.tokens is not None else None
    app.state.workers = Workers(manager.metrics, Path(folder) if folder else None)
    app.state.workers.start()
    app.state.traces = make_traces(settings.traces, manager.stored.tag)
    app.state.metrics_port = None
    if settings.metrics_address is not None:
        workers = app.state.workers
        app.state.metrics_port = MetricsPort(
            _address(settings.metrics_address), lambda accept: exposition(manager.metrics, workers, accept)
        )
        app.state.metrics_port.start()
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        # Without a handler the signal would end the worker, tokens or not.
        signal.signal(signal.SIGHUP, lambda *_: reread_tokens(app.state.tokens))


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
    if app.state.metrics_port is not None:
        app.state.metrics_port.close()
    if app.state.traces is not None:
        app.state.traces.close()
    app.state.workers.close()


def _address(text: str) -> tuple[str, int]:
    try:
        return parse_address(text)
    except ValueError as error:
        raise SettingsError(f"THINNED_METRICS_ADDRESS: {error}, received {text!r}") from None
