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
from thinned.service.http.tokens import Tokens
from thinned.service.inference.model_manager import ModelManager
from thinned.service.metrics.workers import Workers
from thinned.service.settings import Settings

__all__ = ["check_access", "end_worker", "set_up_worker"]

log = logging.getLogger("bentoml.thinned")


def check_access(settings: Settings) -> None:
    """Set up the log of the process that starts the workers, and find out whether they will start.

    Raises:
        SettingsError: The file of tokens cannot be used.
    """
    set_log_format(settings.log_format)
    if settings.tokens is not None:
        Tokens(settings.tokens)


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
    """Leave this worker's counts to the others."""
    app.state.workers.close()
