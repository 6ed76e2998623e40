"""POST /admin/reload: have the service serve the newest version of its models, without a gap."""

from __future__ import annotations

import signal
from typing import cast

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thinned.models.errors import AdminError
from thinned.service.http.tokens import current_caller
from thinned.service.inference.catalogue import Catalogue

__all__ = ["reload_model"]


async def reload_model(request: Request) -> Response:
    """Exchange each model for what its name stands for today; the other workers are told to do so too.

    Raises:
        AdminError: Whoever asks may not.
        ReloadError: It cannot be served; the one before goes on.
    """
    caller = current_caller.get()
    if caller is None or not caller.admin:
        raise AdminError(
            "expected the token of an administrator: make one with `thinned token NAME --admin`, in the file that "
            "THINNED_TOKENS names; or send SIGHUP to the process of the service"
        )
    models = cast(Catalogue, request.app.state.models)
    try:
        done = await run_sync(models.reload)
    finally:  # Some may have been exchanged where one could not.
        if hasattr(signal, "SIGHUP"):
            models.siblings.send(signal.SIGHUP)
    first, *others = [
        {"model": {"name": stored.card.name, "version": stored.version}, "changed": changed} for stored, changed in done
    ]
    return JSONResponse({**first, "others": others} if others else first)
