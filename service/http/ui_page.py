"""The page at `/ui`: a person asks the model there, and sees its answers over passes.

Its files lie in `ui/`, plain HTML, CSS and ES modules, and are the same for every model: what they show comes from the
API, with the token that the page asks for. So they are answered to everyone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from thinned.service.http.access import PAGE

__all__ = ["ui_routes"]

FOLDER = Path(__file__).parent / "ui"
INDEX = "index.html"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    # Nothing but files from here: no script or style in the page, no text that becomes markup.
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Asked for each time, so that files of two versions never meet.
    "cache-control": "no-cache",
}


def ui_routes() -> list[Route]:
    """The routes of the page and its files, which are read once."""
    files = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in _KINDS}

    async def page(request: Request) -> Response:
        return _file(request, INDEX, files[INDEX])

    async def file(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in files or name == INDEX:
            raise HTTPException(404, f"There is no file {name[:100]!r} of the page here; it is at {PAGE}.")
        return _file(request, name, files[name])

    async def to_page(_: Request) -> Response:
        # Its links are relative, so that it may stand behind a proxy under any path.
        return RedirectResponse(f"..{PAGE}")

    return [
        Route(PAGE, page, methods=["GET"]),
        Route(f"{PAGE}/", to_page, methods=["GET"]),
        Route(f"{PAGE}/{{file}}", file, methods=["GET"]),
    ]


def _file(request: Request, name: str, content: bytes) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_KINDS[Path(name).suffix], headers=headers)
