"""What is known of a request while its passes are drawn: statistics of all its rows after each block."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.sampling import BLOCK
from thinned.models.uncertainty import BlockStatistics, RunningStatistics

__all__ = ["Progress"]


class Progress:
    """Takes what new passes say of some of the rows, and gives what they say of all of them, block by block.

    Args:
        rows: Of the request.
        outputs: Names of the model's outputs.
    """

    def __init__(self, rows: int, outputs: Sequence[str]) -> None:
        self._rows, self._outputs = rows, outputs
        self._pieces: dict[int, _Piece] = {}

    def add(self, rows: slice, part: Mapping[str, BlockStatistics]) -> None:
        """Take what new passes say of some rows."""
        piece = self._pieces.get(rows.start)
        if piece is None:
            piece = self._pieces[rows.start] = _Piece(rows.stop - rows.start, self._outputs)
            self._pieces = dict(sorted(self._pieces.items()))
        by_block = zip(*(part[name].blocks() for name in self._outputs), strict=True)
        piece.waiting.extend(dict(zip(self._outputs, blocks, strict=True)) for blocks in by_block)

    @property
    def more(self) -> bool:
        """Whether all rows have further blocks; `advance` may find that they are not full yet."""
        pieces = self._pieces.values()
        return sum(piece.height for piece in pieces) == self._rows and all(piece.waiting for piece in pieces)

    def advance(self) -> int | None:
        """Go on to the next full block that all rows have.

        Returns:
            Passes that the statistics now stand on; None where there is no such block yet.
        """
        pieces = list(self._pieces.values())
        if sum(piece.height for piece in pieces) < self._rows:
            return None
        while (behind := min(pieces, key=lambda piece: piece.count)).waiting:
            behind.take()
            count = behind.count
            if count % BLOCK == 0 and all(piece.count == count for piece in pieces):
                return count
        return None

    def statistics(self) -> dict[str, RunningStatistics]:
        """Of all rows, by output name; right after `advance` has given a number."""
        pieces = list(self._pieces.values())
        return {name: RunningStatistics.of_rows([piece.statistics[name] for piece in pieces]) for name in self._outputs}

    def new_passes(self) -> dict[str, npt.NDArray[Any]]:
        """The passes since this was asked last, (S, B, *output_shape), by output name; empty where none are kept."""
        fresh = [piece.hand_over() for piece in self._pieces.values()]
        return {name: np.concatenate([part[name] for part in fresh], axis=1) for name in fresh[0]}


class _Piece:
    """Some of the rows, whose passes are drawn together."""

    def __init__(self, height: int, outputs: Sequence[str]) -> None:
        self.height = height
        self.statistics = {name: RunningStatistics() for name in outputs}
        self.waiting: deque[dict[str, BlockStatistics]] = deque()
        self._fresh: dict[str, list[npt.NDArray[Any]]] = {}

    @property
    def count(self) -> int:
        """Passes that the statistics stand on."""
        return next(iter(self.statistics.values())).count

    def take(self) -> None:
        """Add the next block, or part of one."""
        # A pass may be infinite: the answer is then refused.
        with np.errstate(over="ignore", invalid="ignore"):
            for name, block in self.waiting.popleft().items():
                self.statistics[name].update(block)
                if block.passes is not None:
                    self._fresh.setdefault(name, []).append(block.passes)

    def hand_over(self) -> dict[str, npt.NDArray[Any]]:
        """The passes since this was asked last, by output name."""
        fresh, self._fresh = self._fresh, {}
        return {name: np.concatenate(passes) for name, passes in fresh.items()}
