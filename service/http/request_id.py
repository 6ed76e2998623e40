"""The name of the request under way: taken over from the client where it sent a usable one, made here otherwise."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["HEADER", "NameFilter", "current_request_id", "current_trace_id", "name_request", "named_request"]

HEADER = b"x-request-id"
current_request_id: ContextVar[str | None] = ContextVar("thinned_request_id", default=None)
"""None outside of a request."""
current_trace_id: ContextVar[str | None] = ContextVar("thinned_trace_id", default=None)
"""None where no traces are made."""

_USABLE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def name_request(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The name of a request with these headers. A name that could break a log line is not taken over."""
    for name, value in headers:
        if name == HEADER:
            if _USABLE.fullmatch(value):
                return value
            break
    return os.urandom(16).hex().encode()


@contextmanager
def named_request(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Name a request that no middleware sees; what is answered and logged within carries the name."""
    name = name_request(headers)
    before = current_request_id.set(name.decode("ascii"))
    try:
        yield name
    finally:
        current_request_id.reset(before)


class NameFilter(logging.Filter):
    """Writes the name of the request under way into each record, as `request_name`, and that of its trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        record.request_name = current_request_id.get()
        record.request_trace = current_trace_id.get()
        return True
