"""Errors as HTTP answers: RFC 9457 problem details, from the one table in `thinned.service.schema.problem_table`.

Under `/v2` they have the form of the Open Inference Protocol, with the same status and headers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from thinned.models.errors import InputError, UnsupportedEncodingError
from thinned.service.http.paths import is_protocol
from thinned.service.http.request_id import current_request_id
from thinned.service.schema.problem_table import UNEXPECTED, Meaning, meaning_of

__all__ = ["ErrorResponse", "ProblemResponse", "ProtocolErrorResponse", "answer_to", "problem"]


class ErrorResponse(JSONResponse):
    """An error as the answer."""

    def render(self, content: Any) -> bytes:
        """JSON in ASCII: what it repeats of the client's text may not be encodable in UTF-8."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class ProblemResponse(ErrorResponse):
    """A problem document as the answer."""

    media_type = "application/problem+json"
    detail: str = ""
    """What the document says."""

    def render(self, content: Any) -> bytes:
        """As every error is."""
        self.detail = content.get("detail", "")
        return super().render(content)


class ProtocolErrorResponse(ErrorResponse):
    """An error in the form of the Open Inference Protocol as the answer: one text, `{"error": ...}`."""

    media_type = "application/json"


_OF_THE_BODY = ("content-type", "content-length")


def answer_to(error: Exception, path: str) -> ErrorResponse:
    """The answer to an error of a request for this path, in the form that the path has."""
    found = problem(error)
    if not is_protocol(path):
        return found
    text = str(error) if isinstance(error, InputError) else found.detail
    headers = {name: value for name, value in found.headers.items() if name not in _OF_THE_BODY}
    return ProtocolErrorResponse({"error": text}, status_code=found.status_code, headers=headers)


def problem(error: Exception) -> ProblemResponse:
    """The answer to an error. One that is not in the table is answered 500 and nothing of it is shown."""
    if isinstance(error, HTTPException):
        return _refusal(error)
    meaning = meaning_of(error)
    if meaning is None:
        return _response(UNEXPECTED, "An unexpected error; the service's log says more.")
    if not isinstance(error, InputError):
        retry_after_s = getattr(error, "retry_after_s", None) or meaning.retry_after_s
        packed = isinstance(error, UnsupportedEncodingError)
        headers = {"accept-encoding": "gzip"} if packed else None
        return _response(meaning._replace(retry_after_s=retry_after_s), str(error), headers=headers)
    count = len(error.problems)
    detail = str(error) if count == 1 else f"{count} problems; see errors"
    return _response(meaning, detail, errors=[{"loc": list(p.loc), "msg": p.msg} for p in error.problems])


def _refusal(error: HTTPException) -> ProblemResponse:
    """What a router refuses: a path or a method."""
    status = HTTPStatus(error.status_code)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    detail = error.detail
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        detail = f"This path takes {headers['allow']} only."
    return _response(Meaning(status, status.phrase), detail, headers=headers)


def _response(
    meaning: Meaning,
    detail: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    document: dict[str, Any] = {"title": meaning.title, "status": int(meaning.status), "detail": detail}
    if errors is not None:
        document["errors"] = errors
    name = current_request_id.get()
    if name is not None:
        document["request_id"] = name
    headers = dict(headers or {})
    if meaning.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["connection"] = "close"  # What it still sends is not waited for.
    if meaning.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if meaning.retry_after_s is not None:
        headers["retry-after"] = str(meaning.retry_after_s)
    return ProblemResponse(document, status_code=int(meaning.status), headers=headers)
