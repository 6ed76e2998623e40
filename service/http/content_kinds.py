"""In which form a body comes and its answer goes, by the headers and the query of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starlette.types import Scope

from thinned.models.errors import InputError, MisnamedBodyError, NotAcceptableError, Problem, UnsupportedBodyError
from thinned.service.schema.answer_files import DEPTHS
from thinned.service.schema.image_headers import PNG
from thinned.service.schema.option_texts import options_of, pairs_of_query
from thinned.service.schema.raw_body import FORM, JSON, KINDS, NPZ, Form
from thinned.service.schema.request_fields import SAMPLE_FIELDS

__all__ = ["AS_JSON", "EVENTS", "OF_PICTURES", "Terms", "takes_gzip", "terms_of", "terms_of_stream"]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

EVENTS = "text/event-stream"
OF_PICTURES = ("field", "channel", "bits")
"""Query parameters of an answer that is a picture."""
_ANSWERS = (JSON, NPZ, PNG)
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)


_JSON_BODY = Form()


@dataclass(frozen=True, slots=True)
class Terms:
    """How a request is read and answered.

    `form` is that of its body, `answer` the content type of its answer. `field`, `channel` and `bits` say which map a
    picture shows; an empty field stands for the answer itself.
    """

    form: Form = _JSON_BODY
    answer: str = JSON
    field: str = ""
    channel: int | None = None
    bits: int = DEPTHS[0]


AS_JSON = Terms()
"""JSON both ways."""


def terms_of(scope: Scope) -> Terms:
    """How a request is to be read and answered.

    Raises:
        UnsupportedBodyError: Two content types are named.
        MisnamedBodyError: A form has no boundary.
        NotAcceptableError: None of the answers that there are is accepted.
        InputError: Its query does not fit.
    """
    headers: Headers = scope["headers"]
    answer = _answer(headers, _ANSWERS)
    form = _form(scope)
    query = scope.get("query_string", b"")
    if not query:
        return Terms(form, answer)
    pairs = pairs_of_query(query.decode("latin-1"))
    picture = options_of((name, text) for name, text in pairs if name in OF_PICTURES)
    problems = [Problem((name,), f"only an answer of {PNG} has it") for name in picture if answer != PNG]
    if form.kind == JSON:
        problems += [
            Problem((name,), "expected in the JSON body; in the query it is for bodies of other kinds")
            for name, _ in pairs
            if name in SAMPLE_FIELDS
        ]
    problems += _wrong(picture)
    if problems:
        raise InputError(problems)
    channel, bits = picture.get("channel"), picture.get("bits", DEPTHS[0])
    return Terms(form, answer, str(picture.get("field", "")), channel, bits)  # type: ignore[arg-type]


def _wrong(picture: Mapping[str, object]) -> list[Problem]:
    found: list[Problem] = []
    channel, bits = picture.get("channel"), picture.get("bits")
    if channel is not None and (type(channel) is not int or channel < 0):
        found.append(Problem(("channel",), "expected the number of a channel, 0 or more"))
    if bits is not None and (type(bits) is not int or bits not in DEPTHS):
        found.append(Problem(("bits",), f"expected {' or '.join(map(str, DEPTHS))}"))
    return found


def terms_of_stream(scope: Scope) -> Terms:
    """The same for a path whose answers are events, whatever is accepted: `curl --json` accepts JSON alone.

    Raises:
        ThinnedError: As for `terms_of`.
    """
    return terms_of({**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"accept"]})


def takes_gzip(headers: Headers) -> bool:
    """Whether an answer may be packed."""
    weights = _weights(headers, b"accept-encoding")
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _form(scope: Scope) -> Form:
    said = [value for name, value in scope["headers"] if name == b"content-type"]
    kinds = [value.partition(b";")[0].strip().lower().decode("latin-1") for value in said]
    kind = kinds[0] if kinds else ""
    if kind in ("", JSON) and len(kinds) < 2:
        return _JSON_BODY
    if len(kinds) > 1:
        received = " and ".join(repr(kind[:60]) for kind in kinds[:2])
        raise UnsupportedBodyError(f"expected the header content-type once, received {received}")
    if kind not in KINDS:
        raise UnsupportedBodyError(f"expected the header content-type: {' or '.join(KINDS)}, received {kind[:60]!r}")
    query = scope.get("query_string", b"").decode("latin-1")
    if kind != FORM:
        return Form(kind, query=_without_picture(query))
    boundary = _BOUNDARY.search(said[0])
    if boundary is None:
        raise MisnamedBodyError("expected multipart/form-data with a boundary of 1 to 70 characters, received none")
    return Form(kind, boundary[1] or boundary[2], _without_picture(query))


def _without_picture(query: str) -> str:
    """The query of a body's options."""
    return "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in OF_PICTURES)


def _answer(headers: Headers, offered: Sequence[str]) -> str:
    """The first of the offered content types that is accepted as gladly as any.

    Raises:
        NotAcceptableError: None is.
    """
    weights = _weights(headers, b"accept")
    if not weights:
        return offered[0]
    best = max(offered, key=lambda kind: _weight(kind, weights))
    if _weight(best, weights) <= 0:
        accepted = ", ".join(weights)[:100]
        raise NotAcceptableError(f"expected the header accept: {' or '.join(offered)}, received {accepted!r}")
    return best


def _weight(kind: str, weights: Mapping[str, float]) -> float:
    """How gladly a content type is accepted, by the most specific range that it is in."""
    ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*", "*")
    return next((weights[one] for one in ranges if one in weights), 0.0)


def _weights(headers: Headers, wanted: bytes) -> dict[str, float]:
    """What a header accepts, and how gladly, from 0 to 1."""
    found: dict[str, float] = {}
    for name, value in headers:
        if name == wanted:
            for one in value.decode("latin-1").lower().split(","):
                kind, *parameters = (part.strip() for part in one.split(";"))
                weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
                if kind:
                    found[kind] = _number(weight)
    return found


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0
