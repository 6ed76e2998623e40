"""POST /admin/reload: have the service serve the newest version of its model, without a gap."""

from __future__ import annotations

import signal
from typing import cast

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thinned.models.errors import AdminError
from thinned.service.http.tokens import current_caller
from thinned.service.inference.model_manager import ModelManager

__all__ = ["reload_model"]


async def reload_model(request: Request) -> Response:
    """Exchange the model for what its name stands for today; the other workers are told to do so too.

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
    manager = cast(ModelManager, request.app.state.manager)
    stored, changed = await run_sync(manager.reload)
    if hasattr(signal, "SIGHUP"):
        manager.siblings.send(signal.SIGHUP)
    return JSONResponse({"model": {"name": stored.card.name, "version": stored.version}, "changed": changed})
