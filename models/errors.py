"""Every error that a person can act on, as one tree. `thinned.service.http.problem_details` maps them to HTTP.

ThinnedError
├── InputError                  what was sent does not fit the model or the limits
├── NoSitesError                Monte Carlo asked of a model whose variance would be 0
├── CalibrationError            the model is not calibrated for this coverage, or these rows cannot calibrate
├── AnswerNotFiniteError        the model answered NaN or infinity
├── UnsupportedModelError       the model cannot be served as it is
│   ├── UnknownNoiseError       a layer draws noise, and nobody said how
│   └── WarmUpError             the loaded model does not do what its card says
├── ExportError                 the model cannot be written as such a file, or the file does not answer as it should
├── ModelFileError              the file is not a model that may be loaded
├── StoreError                  the model store
│   ├── ModelNotFoundError      it has no such model
│   ├── ModelExistsError        the name cannot be used
│   ├── AliasError              an alias, or `latest`, cannot point there, or a version cannot go while one does
│   ├── ModelDiffersError       a new version would take or answer something else than the one before
│   └── ModelCorruptError       a stored file is not the one that was imported
├── RequestError                the body of a request
│   ├── MalformedBodyError      is not a JSON object
│   │   └── MisnamedBodyError   is not what its content type says
│   ├── UnsupportedBodyError    is said to be of a kind that is not read
│   │   └── UnsupportedEncodingError    is said to be packed in another way than gzip
│   ├── NotAcceptableError      asks for an answer in a form that it cannot have
│   ├── BodyTooLargeError       is longer than the limit
│   ├── BodyTooSlowError        did not arrive in time
│   └── MemoryLimitError        needs more memory than there is for requests
├── AccessError                 who asks
│   ├── TokenError              has no token of this service
│   ├── AdminError              has a token that does not allow what it asks
│   └── RateError               has asked for more than its token allows
├── AvailabilityError           the service cannot answer now
│   ├── ReloadError             a newer version could not be exchanged for the one that is served
│   ├── NotReadyError           the model is loading, could not be loaded, or the service is stopping
│   ├── OverloadedError         too much waits already
│   ├── DeadlineError           the answer was not there in time
│   └── ClientGoneError         the client has gone; nothing is answered
└── UsageError                  the command line or a setting asks for what cannot be
    └── SettingsError           an environment variable
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "AccessError",
    "AdminError",
    "AliasError",
    "AnswerNotFiniteError",
    "AvailabilityError",
    "BodyTooLargeError",
    "BodyTooSlowError",
    "CalibrationError",
    "ClientGoneError",
    "DeadlineError",
    "ExportError",
    "InputError",
    "MalformedBodyError",
    "MemoryLimitError",
    "MisnamedBodyError",
    "ModelCorruptError",
    "ModelDiffersError",
    "ModelExistsError",
    "ModelFileError",
    "ModelNotFoundError",
    "NoSitesError",
    "NotAcceptableError",
    "NotReadyError",
    "OverloadedError",
    "Problem",
    "RateError",
    "ReloadError",
    "RequestError",
    "SettingsError",
    "StoreError",
    "ThinnedError",
    "TokenError",
    "UnknownNoiseError",
    "UnsupportedBodyError",
    "UnsupportedEncodingError",
    "UnsupportedModelError",
    "UsageError",
    "WarmUpError",
]


class Problem(NamedTuple):
    """One thing wrong with an input: where it stands, and what was expected and received."""

    loc: tuple[str | int, ...]
    msg: str


class ThinnedError(Exception):
    """Base of every error that a person can act on; its text is one readable sentence or two."""


class InputError(ThinnedError):
    """The input does not fit the model or the limits."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, p.loc))}: {p.msg}" if p.loc else p.msg for p in problems))


class NoSitesError(ThinnedError):
    """The model has no active site, so every pass would be the same and the variance 0."""


class CalibrationError(ThinnedError):
    """A model cannot be calibrated so, or is not calibrated for what is asked."""


class AnswerNotFiniteError(ThinnedError):
    """The model answered NaN or infinity, which JSON cannot hold.

    Args:
        message: What is told.
        rows: The numbers of the rows that it did so for, where they are known.
    """

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class UnsupportedModelError(ThinnedError):
    """The model cannot be served as it is; the text names the layer, the reason and a remedy."""


class UnknownNoiseError(UnsupportedModelError):
    """A layer draws its own noise, and `register_noise` was not told how."""


class WarmUpError(UnsupportedModelError):
    """The loaded model does not do what its card says."""


class ExportError(ThinnedError):
    """The model cannot be written as a file for others, or the file that was written does not answer as it should."""


class ModelFileError(ThinnedError):
    """The file is not a Keras model that may be loaded safely."""


class StoreError(ThinnedError):
    """The model store does not hold what is asked for, or cannot take it."""


class ModelNotFoundError(StoreError):
    """The store holds no model of that name or version."""


class ModelExistsError(StoreError):
    """The name cannot be used."""


class AliasError(StoreError):
    """An alias, or `latest`, cannot point there; or a version cannot be deleted while an alias points to it."""


class ModelDiffersError(StoreError):
    """A new version would take or answer something else than the one before it; the text says what."""


class ModelCorruptError(StoreError):
    """The stored file differs from the one that was imported."""


class RequestError(ThinnedError):
    """The body of a request cannot be read."""


class MalformedBodyError(RequestError):
    """The body is not a JSON object in UTF-8."""


class MisnamedBodyError(MalformedBodyError):
    """The body is not what its content type says: not an .npy file, not a PNG, not a form."""


class UnsupportedBodyError(RequestError):
    """The body's content type is none that is read."""


class UnsupportedEncodingError(UnsupportedBodyError):
    """The body's content encoding is not gzip."""


class NotAcceptableError(RequestError):
    """The answer cannot have any of the forms that the request accepts; the text says which it can."""


class BodyTooLargeError(RequestError):
    """The body is longer than the limit."""


class BodyTooSlowError(RequestError):
    """The body did not arrive in time."""


class MemoryLimitError(RequestError):
    """The request needs more memory than all requests together may hold."""


class AccessError(ThinnedError):
    """Whoever asks may not, or not now."""


class TokenError(AccessError):
    """The request has no token that this service knows."""


class AdminError(AccessError):
    """The request asks for what only an administrator's token allows."""


class RateError(AccessError):
    """The token's owner has asked for more row-passes than it may.

    Args:
        text: As for every error.
        retry_after_s: After so many seconds the same request is let in.
    """

    def __init__(self, text: str, *, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class AvailabilityError(ThinnedError):
    """The service cannot answer this request now."""


class NotReadyError(AvailabilityError):
    """The model is not loaded and checked yet, could not be, or the service is stopping."""


class ReloadError(AvailabilityError):
    """What the name stands for today could not be exchanged for what is served, which goes on."""


class OverloadedError(AvailabilityError):
    """More waits than may, or than can be answered in time. `retry_after_s` says when to come again, if it is known."""

    def __init__(self, text: str, *, retry_after_s: int | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(text)


class DeadlineError(AvailabilityError):
    """The answer was not there within the time that the request allowed."""


class ClientGoneError(AvailabilityError):
    """The client has gone, so nothing is answered."""


class UsageError(ThinnedError):
    """The command line asks for something that cannot be; the text says what to pass instead."""


class SettingsError(UsageError):
    """An environment variable holds a value that cannot be used."""
