"""How log lines are written: as BentoML writes them with the request's name at the end, or as one JSON object each."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from thinned.service.http.request_id import NameFilter

__all__ = ["JsonFormatter", "NamedFormatter", "set_log_format"]

FIELDS = "thinned_fields"
"""Attribute of a record that holds more members of its JSON object."""


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message; request_id, trace_id, exception and more if there are."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII and without a line break."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        name = getattr(record, "request_name", None)
        if name is not None:
            line["request_id"] = name
        trace = getattr(record, "request_trace", None)
        if trace is not None:
            line["trace_id"] = trace
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class NamedFormatter(logging.Formatter):
    """Another formatter's line, with the request's name at its end."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback stands below it."""
        name = getattr(record, "request_name", None)
        text = self._inner.format(record)
        if name is None:
            return text
        line, *below = text.split("\n", 1)
        return "\n".join([f"{line} (request_id={name})", *below])


def set_log_format(kind: str) -> None:
    """Have the handlers that BentoML has set up write this form, `text` or `json`. A second call changes nothing."""
    loggers = [logging.getLogger(name) for name in (None, "bentoml", "uvicorn.error", "circus")]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler.formatter, JsonFormatter | NamedFormatter):
            continue
        handler.addFilter(NameFilter())
        handler.setFormatter(
            JsonFormatter() if kind == "json" else NamedFormatter(handler.formatter or logging.Formatter())
        )
