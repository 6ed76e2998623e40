"""Errors of the command line: each is one line and an exit status."""

from __future__ import annotations

import errno
from typing import NamedTuple

import typer

from thinned.models.compat.messages import message_of
from thinned.models.errors import InputError, ThinnedError

__all__ = ["USAGE_STATUS", "Ending", "ending", "is_full_disk"]

USAGE_STATUS = 2
_PROBLEMS_TOLD = 3


class Ending(NamedTuple):
    """How the command ends: one line for stderr, and the exit status."""

    line: str
    status: int


def ending(error: BaseException) -> Ending:
    """What to say of an error, and the status to exit with."""
    match error:
        case InputError(problems=problems) if len(problems) > _PROBLEMS_TOLD:
            told = InputError(problems[:_PROBLEMS_TOLD])
            return _ending(f"{told}; and {len(problems) - _PROBLEMS_TOLD} more")
        case ThinnedError():
            return _ending(str(error))
        case typer.Abort():
            return _ending("nothing was done", 1)
        case MemoryError():
            return _ending("the memory is not enough for this; use fewer rows, a smaller model or a larger machine", 1)
        case KeyboardInterrupt():
            return _ending("stopped", 130)
        case OSError() if is_full_disk(error):
            where = f"{error.filename} could not be written" if error.filename else "nothing more can be written"
            usual = "free some of it, or have BENTOML_HOME and TMPDIR name folders on another"
            remedy = " ".join(getattr(error, "__notes__", [usual]))
            return _ending(f"the disk is full: {where}; {remedy}", 1)
        case OSError():
            return _ending(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    # Typer's errors of use have had several homes and names; all of them can format their message.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "thinned"
        message = str(error.format_message()).replace("Value error, ", "").rstrip(".")
        return _ending(f"{message}; see {command} --help")
    if type(error).__module__.startswith("bentoml."):
        return _ending(str(error))
    return _ending(f"{message_of(error)} ({type(error).__name__}); THINNED_DEBUG=1 shows where it was raised")


def is_full_disk(error: BaseException) -> bool:
    """Whether a disk, or a person's share of it, was full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _ending(message: str, status: int = USAGE_STATUS) -> Ending:
    return Ending(f"thinned: {' '.join(message.split())}", status)
