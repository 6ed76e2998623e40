"""What calls of a model have taken: how long the next one will, and whether requests are faster together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from thinned.service.inference.jobs import Job, Share

__all__ = ["CallCosts"]

_WEIGHT = 0.25
_MOST_KEYS = 512
_WORSE = 1.1
"""Joined calls may take so many times what their requests take one after the other."""
_BLIND = 8
"""Joined calls after which one goes alone, where nothing is known of such."""
_TRY_AGAIN = 64
"""Calls after which what was found to be slower, or was never tried alone, is tried again."""


class CallCosts:
    """Seconds of calls by kind of request and size, as they were measured; the rest is followed from the nearest.

    Args:
        longest_s: Seconds that a call should take at most.
        best_rate: Whether calls are as large as the fastest of any size allow, not the largest: where `longest_s` is
            little, one that took long by chance would else keep all others small, and so be the last of its size.
    """

    def __init__(self, *, longest_s: float = 0.25, best_rate: bool = False) -> None:
        self._longest_s, self._best_rate = longest_s, best_rate
        # By key: seconds of calls of one request, by the power of two of their row-passes.
        self._alone: OrderedDict[Hashable, dict[int, tuple[float, float]]] = OrderedDict()
        # By key and whether masks are shared: seconds of joined calls over those of their requests alone.
        self._joined: OrderedDict[Hashable, float] = OrderedDict()
        # By key: seconds for a row-pass that was asked for, however it was computed.
        self._rate: OrderedDict[Hashable, float] = OrderedDict()
        # By either key: the number of the last call, alone or joined.
        self._last: OrderedDict[Hashable, float] = OrderedDict()
        self._calls = 0

    def note(self, shares: Sequence[Share], took_s: float) -> None:
        """Take note of a call."""
        self._calls += 1
        key, asked = shares[0].job.key, sum(share.row_passes for share in shares)
        _mix(self._rate, key, took_s / asked)
        _put(self._last, key if len(shares) == 1 else (key, _same_draw(shares)), self._calls)
        if len(shares) == 1:
            sizes = self._alone.setdefault(key, {})
            self._alone.move_to_end(key)
            size = asked.bit_length()
            known = sizes.get(size, (float(asked), took_s))
            sizes[size] = (_mixed(known[0], asked), _mixed(known[1], took_s))
            if len(self._alone) > _MOST_KEYS:
                self._alone.popitem(last=False)
            return
        apart = [self.seconds(share) for share in shares]
        known_apart = [seconds for seconds in apart if seconds is not None]
        if len(known_apart) == len(apart):
            _mix(self._joined, (key, _same_draw(shares)), took_s / sum(known_apart))

    def seconds(self, share: Share) -> float | None:
        """How long a call of this share alone would take; None where nothing like it was measured."""
        sizes = self._alone.get(share.job.key)
        if not sizes:
            return None
        size = share.row_passes.bit_length()
        nearest = min(sizes, key=lambda known: (abs(known - size), known))
        row_passes, took_s = sizes[nearest]
        # A smaller call is no faster than in proportion, and no slower than the one that was measured.
        return took_s * max(1.0, share.row_passes / row_passes) if size >= nearest else took_s

    def waiting_s(self, jobs: Sequence[Job]) -> float:
        """How long the work that these jobs still want will take, as far as it is known."""
        return sum(min(self._rate.get(job.key, 0.0) * job.left, job.left_s) for job in jobs)

    def most(self, key: Hashable, limit: int) -> int:
        """Row-passes that a call should hold, `limit` at most, so that it takes no longer than it should."""
        sizes = self._alone.get(key)
        if not sizes:
            return limit
        row_passes, took_s = sizes[max(sizes)]
        if self._best_rate:
            row_passes, took_s = max(sizes.values(), key=lambda known: known[0] / max(known[1], 1e-9))
        return max(1, min(limit, int(row_passes * self._longest_s / max(took_s, 1e-9))))

    def pays(self, head: Job, other: Job) -> bool:
        """Whether two jobs that may share a call are to share one."""
        # Now and then the head goes alone, so that it is known what that takes.
        known = head.key in self._alone
        if self._calls - self._last.get(head.key, 0) >= (_TRY_AGAIN if known else _BLIND):
            return False
        pair = (head.key, head.draw == other.draw)
        ratio = self._joined.get(pair)
        return ratio is None or ratio <= _WORSE or self._calls - self._last.get(pair, 0) >= _TRY_AGAIN


def _same_draw(shares: Sequence[Share]) -> bool:
    return len({share.job.draw for share in shares}) == 1


def _mixed(old: float, new: float) -> float:
    return (1 - _WEIGHT) * old + _WEIGHT * new


def _mix(known: OrderedDict[Hashable, float], key: Hashable, value: float) -> None:
    _put(known, key, _mixed(known.get(key, value), value))


def _put(known: OrderedDict[Hashable, float], key: Hashable, value: float) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST_KEYS:
        known.popitem(last=False)
