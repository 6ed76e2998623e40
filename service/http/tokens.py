"""Who may ask: the tokens of a file, and how much each may ask for.

A line of the file is `NAME SHA256 [RATE] [admin]`: the digest of a token, never the token, the row-passes a second that
its owner may ask for on average, and whether it may have the service follow a newer version. Lines that start with #
are left out. `thinned token NAME` makes a token and its line.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from thinned.models.errors import RateError, SettingsError, TokenError

__all__ = ["Caller", "Tokens", "charge", "current_caller", "new_token"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ADMIN = "admin"
_BURST_S = 1.0
"""A caller that has been silent may ask for what so many seconds allow, and for one request beyond it."""


class Caller:
    """The owner of a token.

    Args:
        name: Who it is, for the log.
        digest: SHA-256 of the token.
        rate: Row-passes a second on average; None for no limit.
        admin: Whether it may do more than ask.
        clock: Tells seconds.
    """

    def __init__(
        self,
        name: str,
        digest: bytes,
        rate: float | None = None,
        *,
        admin: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.digest, self.rate, self.admin = name, digest, rate, admin
        self._clock = clock
        self._level = 0.0
        self._at = clock()

    def charge(self, row_passes: float) -> None:
        """Fill the bucket, which leaks at the caller's rate. A negative number gives back what was not used.

        A request is let in as long as the bucket is not over its brim, however large it is; those after it wait.

        Raises:
            RateError: It is over the brim.
        """
        if self.rate is None:
            return
        now = self._clock()
        self._level = max(0.0, self._level - (now - self._at) * self.rate)
        self._at = now
        above = self._level - self.rate * _BURST_S
        if row_passes > 0 and above > 0:
            raise RateError(
                f"this token may ask for {self.rate:g} row-passes (rows times n_samples) a second; ask again later, "
                "or for less",
                retry_after_s=max(1, math.ceil(above / self.rate)),
            )
        self._level = max(0.0, self._level + row_passes)


current_caller: ContextVar[Caller | None] = ContextVar("thinned_caller", default=None)
"""None outside of a request, and where no tokens are asked for."""


def charge(row_passes: int) -> None:
    """Charge the caller of the request under way.

    Raises:
        RateError: It has asked for more than it may.
    """
    caller = current_caller.get()
    if caller is not None:
        caller.charge(row_passes)


class Tokens:
    """The tokens of a file.

    Args:
        path: The file.

    Raises:
        SettingsError: It cannot be read, or holds a line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._callers = _read(path)

    def reread(self) -> None:
        """Read the file again; who had asked for much stays charged with it.

        Raises:
            SettingsError: As when it was read first; the tokens stay as they were.
        """
        before = {_key(caller): caller for caller in self._callers}
        self._callers = [before.get(_key(caller), caller) for caller in _read(self.path)]

    def caller_of(self, headers: list[tuple[bytes, bytes]]) -> Caller:
        """Whose token a request has. All are compared, each in constant time.

        Raises:
            TokenError: It has none, or one that is not known; which of these is not told.
        """
        sent = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = sent[0].partition(b" ") if len(sent) == 1 else (b"", b"", b"")
        digest = hashlib.sha256(token.strip()).digest()
        found = None
        for caller in self._callers:
            if hmac.compare_digest(caller.digest, digest):
                found = caller
        if found is None or scheme.lower() != b"bearer":
            raise TokenError("expected the header authorization: Bearer TOKEN, with a token of this service")
        return found


def _key(caller: Caller) -> tuple[object, ...]:
    return caller.name, caller.digest, caller.rate, caller.admin


def new_token(name: str, rate: float | None = None, *, admin: bool = False) -> tuple[str, str]:
    """A new token, and its line for the file.

    Raises:
        SettingsError: The name or the rate cannot stand in the file.
    """
    token = secrets.token_urlsafe(32)
    words = [name, hashlib.sha256(token.encode()).hexdigest(), *([] if rate is None else [f"{rate:g}"])]
    line = " ".join([*words, "admin"] if admin else words)
    _caller(line, "the line")
    return token, line


def _read(path: Path) -> list[Caller]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"THINNED_TOKENS: {path} cannot be read ({getattr(error, 'strerror', error)})") from None
    callers: list[Caller] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            callers.append(_caller(line, f"THINNED_TOKENS: {path}, line {number}"))
    if not callers:
        raise SettingsError(f"THINNED_TOKENS: {path} holds no token; make one with `thinned token NAME`")
    names = [caller.name for caller in callers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"THINNED_TOKENS: {path} names {twice!r} twice; give each token a name of its own")
    return callers


def _caller(line: str, where: str) -> Caller:
    """One line. What stands in it is not repeated: it may be a token, put there by mistake."""
    name, digest, *rest = [*line.split(), "", ""][: max(2, len(line.split()))]
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{where}: expected a name of 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
    if not _DIGEST.fullmatch(digest):
        raise SettingsError(
            f"{where}: expected a name and the SHA-256 of a token in 64 hexadecimal digits; "
            "`thinned token NAME` prints such a line"
        )
    rest = [word for word in rest if word]
    admin = rest[-1:] == [_ADMIN]
    rest = rest[:-1] if admin else rest
    try:
        rate = float(rest[0]) if rest else None
    except ValueError:
        rate = math.nan
    if len(rest) > 1 or (rate is not None and not 0 < rate < math.inf):
        raise SettingsError(
            f"{where}: expected nothing after the digest but a rate above 0, in row-passes a second, "
            "and the word admin for a token that may have the service follow a newer version"
        )
    return Caller(name, bytes.fromhex(digest), rate, admin=admin)
