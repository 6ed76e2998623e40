"""Every error that a client can meet, and the one table that maps them to HTTP: RFC 9457 problem details.

ThinnedError                   (thinned.models.errors: InputError, NoSitesError, ...)
├── MalformedBodyError         the body is not a JSON object
├── UnsupportedBodyError       the body is said to be something else than JSON
├── BodyTooLargeError          the body is longer than the limit
├── AnswerNotFiniteError       the model answered NaN or infinity
├── DeadlineError              the answer was not there in time
├── NotReadyError              the model is still loading, or could not be loaded
└── OverloadedError            too many requests wait
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from thinned.models.errors import CalibrationError, InputError, NoSitesError, ThinnedError

__all__ = [
    "TABLE",
    "UNEXPECTED",
    "AnswerNotFiniteError",
    "BodyTooLargeError",
    "DeadlineError",
    "GoneError",
    "MalformedBodyError",
    "NotReadyError",
    "OverloadedError",
    "ProblemResponse",
    "UnsupportedBodyError",
    "problem",
]


class MalformedBodyError(ThinnedError):
    """The body is not a JSON object in UTF-8."""


class UnsupportedBodyError(ThinnedError):
    """The body's content type is not JSON."""


class BodyTooLargeError(ThinnedError):
    """The body is longer than the limit."""


class AnswerNotFiniteError(ThinnedError):
    """The model answered NaN or infinity, which JSON cannot hold."""


class DeadlineError(ThinnedError):
    """The answer was not there within the time that the request allowed."""


class GoneError(Exception):
    """The client has gone, so nothing is answered: not an error that a client can meet."""


class NotReadyError(ThinnedError):
    """The model is not loaded and proved yet, or could not be."""


class OverloadedError(ThinnedError):
    """As many requests wait as may."""


class Meaning(NamedTuple):
    """What an error is in HTTP."""

    status: HTTPStatus
    title: str
    retry_after_s: int | None = None


# The first class that fits counts.
TABLE: Mapping[type[Exception], Meaning] = {
    MalformedBodyError: Meaning(HTTPStatus.BAD_REQUEST, "The body is not a JSON object"),
    UnsupportedBodyError: Meaning(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is not said to be JSON"),
    BodyTooLargeError: Meaning(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    InputError: Meaning(HTTPStatus.UNPROCESSABLE_ENTITY, "The request does not fit the model or the limits"),
    NoSitesError: Meaning(HTTPStatus.UNPROCESSABLE_ENTITY, "The model draws no noise"),
    CalibrationError: Meaning(HTTPStatus.CONFLICT, "The model is not calibrated for this coverage"),
    AnswerNotFiniteError: Meaning(HTTPStatus.UNPROCESSABLE_ENTITY, "The model's answer is not finite"),
    NotReadyError: Meaning(HTTPStatus.SERVICE_UNAVAILABLE, "The model is not ready", retry_after_s=2),
    DeadlineError: Meaning(HTTPStatus.GATEWAY_TIMEOUT, "The answer was not there in time"),
    OverloadedError: Meaning(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests wait", retry_after_s=1),
}
UNEXPECTED = Meaning(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error")


class ProblemResponse(JSONResponse):
    """A problem document as the answer."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        """JSON in ASCII: what it repeats of the client's text may not be encodable in UTF-8."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def problem(error: Exception) -> ProblemResponse:
    """The answer to an error. One that is not in the table is answered 500 and nothing of it is shown."""
    if isinstance(error, HTTPException):
        return _refusal(error)
    meaning = next((TABLE[known] for known in TABLE if isinstance(error, known)), None)
    if meaning is None:
        return _response(UNEXPECTED, "An unexpected error; the service's log says more.")
    if not isinstance(error, InputError):
        return _response(meaning, str(error))
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
    headers = dict(headers or {})
    if meaning.retry_after_s is not None:
        headers["retry-after"] = str(meaning.retry_after_s)
    return ProblemResponse(document, status_code=int(meaning.status), headers=headers)
