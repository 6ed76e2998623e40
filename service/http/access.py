"""Lets in who has a token, where tokens are asked for; health and the page at `/ui` are for everyone."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from thinned.models.errors import TokenError
from thinned.service.http.named_models import named_model
from thinned.service.http.problem_details import answer_to
from thinned.service.http.tokens import Tokens, current_caller
from thinned.service.metrics import Metrics
from thinned.service.settings import Settings

__all__ = ["HEALTH", "AccessMiddleware", "open_to_all"]

HEALTH = ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready")
# Its files say nothing of the model, and ask for the token before they show anything: a browser sends none by itself.
PAGE = "/ui"
DOCUMENTS = ("/", "/docs.json", "/openapi.json", "/schema.json", "/static_content/")


class AccessMiddleware:
    """ASGI middleware around all that may need a token.

    Args:
        app: Answers whoever is let in.
        tokens: Gives the tokens; None where none is asked for.
        settings: Gives the settings that say what else is open.
        metrics: Gives the metrics to count the refusals of a path in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Callable[[], Tokens | None],
        settings: Callable[[], Settings],
        metrics: Callable[[str], Metrics],
    ) -> None:
        self._app = app
        self._tokens, self._settings, self._metrics = tokens, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        tokens = self._tokens() if scope["type"] == "http" else None
        if tokens is None or open_to_all(scope["path"], self._settings()):
            await self._app(scope, receive, send)
            return
        try:
            caller = tokens.caller_of(scope["headers"])
        except TokenError as error:
            self._metrics(scope["path"]).refused("token")
            await answer_to(error, scope["path"])(scope, receive, send)
            return
        scope["thinned_caller"] = caller.name
        before = current_caller.set(caller)
        try:
            await self._app(scope, receive, send)
        finally:
            current_caller.reset(before)


def open_to_all(path: str, settings: Settings) -> bool:
    """Whether a path is answered without a token."""
    if path in HEALTH or path == PAGE or path.startswith(f"{PAGE}/"):
        return True
    if path == "/metrics":
        return settings.open_metrics
    name = named_model(path)
    own = path if name is None else path.removeprefix(f"/models/{name}")
    documents = own in DOCUMENTS or path.startswith(DOCUMENTS[-1])
    return documents and settings.open_docs
