"""The one table from errors to HTTP: status, title, and when to try again."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from thinned.models.errors import (
    AdminError,
    AnswerNotFiniteError,
    BodyTooLargeError,
    BodyTooSlowError,
    CalibrationError,
    ClientGoneError,
    DeadlineError,
    InputError,
    MalformedBodyError,
    MemoryLimitError,
    MisnamedBodyError,
    NoSitesError,
    NotAcceptableError,
    NotReadyError,
    OverloadedError,
    RateError,
    ReloadError,
    TokenError,
    UnsupportedBodyError,
    UnsupportedEncodingError,
)

__all__ = ["TABLE", "UNEXPECTED", "Meaning", "meaning_of", "reason_of"]


class Meaning(NamedTuple):
    """What an error is in HTTP."""

    status: HTTPStatus
    title: str
    retry_after_s: int | None = None


# The first class that fits counts.
TABLE: Mapping[type[Exception], Meaning] = {
    MisnamedBodyError: Meaning(HTTPStatus.BAD_REQUEST, "The body is not what its content type says"),
    MalformedBodyError: Meaning(HTTPStatus.BAD_REQUEST, "The body is not a JSON object"),
    NotAcceptableError: Meaning(HTTPStatus.NOT_ACCEPTABLE, "The answer cannot be had in this form"),
    UnsupportedEncodingError: Meaning(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is packed in another way than gzip"),
    UnsupportedBodyError: Meaning(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is of a kind that is not read"),
    BodyTooLargeError: Meaning(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    BodyTooSlowError: Meaning(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time"),
    MemoryLimitError: Meaning(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request needs too much memory"),
    InputError: Meaning(HTTPStatus.UNPROCESSABLE_ENTITY, "The request does not fit the model or the limits"),
    NoSitesError: Meaning(HTTPStatus.UNPROCESSABLE_ENTITY, "The model draws no noise"),
    CalibrationError: Meaning(HTTPStatus.CONFLICT, "The model is not calibrated for this"),
    AnswerNotFiniteError: Meaning(HTTPStatus.BAD_GATEWAY, "The model's answer is not finite"),
    ReloadError: Meaning(HTTPStatus.CONFLICT, "The model could not be exchanged"),
    NotReadyError: Meaning(HTTPStatus.SERVICE_UNAVAILABLE, "The model is not ready", retry_after_s=2),
    DeadlineError: Meaning(HTTPStatus.GATEWAY_TIMEOUT, "The answer was not there in time"),
    OverloadedError: Meaning(HTTPStatus.SERVICE_UNAVAILABLE, "Too much waits already", retry_after_s=1),
    AdminError: Meaning(HTTPStatus.FORBIDDEN, "An administrator's token is needed"),
    TokenError: Meaning(HTTPStatus.UNAUTHORIZED, "A token is needed"),
    # How long is told by the error itself.
    RateError: Meaning(HTTPStatus.TOO_MANY_REQUESTS, "The token's rate is used up", retry_after_s=1),
}
UNEXPECTED = Meaning(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error")


def meaning_of(error: Exception) -> Meaning | None:
    """What an error is in HTTP; None for one that no client is to blame for."""
    return next((meaning for known, meaning in TABLE.items() if isinstance(error, known)), None)


_REASONS: Mapping[type[Exception], str] = {
    DeadlineError: "late",
    OverloadedError: "full",
    MemoryLimitError: "memory",
    BodyTooSlowError: "slow",
    ClientGoneError: "gone",
    NotReadyError: "not_ready",
    TokenError: "token",
    AdminError: "token",
    RateError: "rate",
}


def reason_of(error: Exception) -> str | None:
    """Why a request that could have been right was not answered, as the metrics name it; None for another error."""
    return next((reason for known, reason in _REASONS.items() if isinstance(error, known)), None)
