"""Noise drawn before it is asked for: seeds that nobody has had yet, with what their first passes draw.

Whoever names no seed may have any. What is drawn ahead for a seed is bit for bit what is drawn for it when it is named,
so that such an answer can be asked for again by the seed that it tells.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from thinned.models.dropout.batching import run_arguments
from thinned.models.dropout.compiled_graphs import CompiledGraphs, GraphKey, Masks
from thinned.models.dropout.monte_carlo_run import MonteCarloRun
from thinned.models.dropout.noise.draws import DrawnNoise
from thinned.models.errors import ThinnedError
from thinned.models.sampling import BLOCK, draw_seed

__all__ = ["MOST_BYTES", "MOST_SEEDS", "NoiseAhead"]

Tensor = Any
MOST_BYTES = 64 << 20
"""Of all noise that is kept of a model."""
MOST_SEEDS = 16
LEAST_PASSES = 4 * BLOCK
MOST_PASSES = 32 * BLOCK
_OF_LATE = 64
"""So many requests tell how many passes are asked for."""
_TIMES = 3
"""What a seed takes while it is kept, and the next one in pieces and joined."""
_PIECE_BYTES = 1 << 20
"""Drawn at once: a call can wait for that, and most networks draw all passes of a seed in it."""


class NoiseAhead:
    """Noise of seeds that nobody has had yet. Safe to use from several threads; one fills it.

    As many passes of a seed are drawn as were asked for of late, 128 at least and 1,024 at most, so far as they fit.

    Args:
        graphs: The model's.
        masks: Of the graphs that are given it.
        most_bytes: What may be kept.
    """

    def __init__(self, graphs: CompiledGraphs, masks: Masks, most_bytes: int = MOST_BYTES) -> None:
        self._graphs, self._most_bytes = graphs, most_bytes
        self._masks, self._key = masks, GraphKey("noise", masks=masks)
        self._lock = threading.Lock()
        self._ready: deque[DrawnNoise] = deque()
        self._asked = deque([LEAST_PASSES], maxlen=_OF_LATE)
        self._passes = LEAST_PASSES
        self._pieces: list[Sequence[Tensor]] = []
        self._seed, self._done = 0, 0
        self.pass_bytes = self._bytes_of_a_pass()
        """Bytes that the noise of a pass takes; 0 where it cannot be drawn ahead."""

    def serves(self, run: MonteCarloRun) -> bool:
        """Whether the calls of a run would take such noise. Where passes are kept, the last masks are drawn too."""
        usual = run.sampling == "stratified" and run.estimator == "best" and not run.exact
        return usual and (self._masks == "all" or not run.keeps_passes)

    def take(self, passes: int) -> DrawnNoise | None:
        """Noise of a seed that nobody else will have, for this many passes at least; None where there is none.

        Args:
            passes: How many are asked for.
        """
        wanted = max(LEAST_PASSES, -(-passes // BLOCK) * BLOCK)
        if wanted > self._most_passes:
            return None
        with self._lock:
            self._asked.append(wanted)
            self._passes = max(self._asked)
            while self._ready:
                noise = self._ready.popleft()
                if noise.passes >= passes:
                    return noise
        return None

    def sample(self) -> DrawnNoise:
        """A block of passes of seed 1, drawn at once: to try with."""
        return DrawnNoise(1, BLOCK, self._masks, tuple(self._draw(1, 0, BLOCK)))

    @property
    def wanted(self) -> bool:
        """Whether there is room for more: for a seed, in pieces and joined."""
        kept = sum(noise.passes for noise in tuple(self._ready))
        fits = self.pass_bytes * (kept + 2 * self._passes) <= self._most_bytes
        return bool(self.pass_bytes) and fits and len(self._ready) < MOST_SEEDS

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept now, of a seed that is being drawn too."""
        return self.pass_bytes * (self._done * bool(self._pieces) + sum(noise.passes for noise in tuple(self._ready)))

    def fill(self) -> None:
        """Draw a piece of what is wanted: a megabyte, or a block of passes."""
        if not self.wanted:
            return
        passes = self._passes
        if not self._pieces:
            self._seed, self._done = draw_seed(), 0
        count = min(self._piece_passes, passes - self._done)
        if count > 0:
            self._pieces.append(self._draw(self._seed, self._done, count))
            self._done += count
            if self._done < passes:
                return
        columns = zip(*self._pieces, strict=True)
        whole = tuple(column[0] if len(column) == 1 else tf.concat(column, axis=0) for column in columns)
        self._pieces = []
        with self._lock:
            if self._passes <= self._done:  # Else more were asked for meanwhile.
                self._ready.append(DrawnNoise(self._seed, self._done, self._masks, whole))

    def is_proven(self, frontier: Sequence[Tensor], rows: int) -> bool:
        """Whether passes made of noise drawn ahead are bit for bit those of its seed; traces the graphs that take it.

        Args:
            frontier: What the prefix made of some rows.
            rows: How many.
        """
        if not self.pass_bytes:
            return False
        noise, key = self.sample(), GraphKey("suffix", masks=self._masks)
        arguments = run_arguments(rows, 2, noise.seed, 1)
        drawn = self._graphs.run(key, arguments, *frontier)
        given = self._graphs.run(key._replace(given=True), arguments, *noise.tensors, *frontier)
        return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(drawn, given, strict=True))

    @property
    def _piece_passes(self) -> int:
        return max(BLOCK, _PIECE_BYTES // self.pass_bytes // BLOCK * BLOCK)

    @property
    def _most_passes(self) -> int:
        """Of one seed: so many that one can be kept while another is drawn."""
        fit = self._most_bytes // _TIMES // max(1, self.pass_bytes)
        return max(LEAST_PASSES, min(MOST_PASSES, fit // BLOCK * BLOCK))

    def _bytes_of_a_pass(self) -> int:
        """Of the noise of one pass; 0 where it hangs on the rows, is drawn in a loop, or is too much."""
        if not self._graphs.draws_apart(self._masks):
            return 0
        try:
            several = [len(tensor) // BLOCK for tensor in self._draw(0, 0, BLOCK)]
        except ThinnedError:  # the model refuses the rows that stand for any: its noise is drawn when it is asked for
            return 0
        sizes = zip(self._graphs.get(self._key).outputs, several, strict=True)
        size = sum(times * tensor.shape[2] * tensor.dtype.size for tensor, times in sizes)
        return size if size * LEAST_PASSES <= self._most_bytes // _TIMES else 0

    def _draw(self, seed: int, first: int, count: int) -> list[Tensor]:
        return self._graphs.run(self._key, run_arguments(1, count, seed, first), *self._any_row)

    @cached_property
    def _any_row(self) -> list[Tensor]:
        """A frontier of one row: the graph asks for one, and nothing of what it gives hangs on it."""
        specs = self._graphs.get(GraphKey("prefix")).outputs
        return [tf.zeros([n or 1 for n in x.shape], x.dtype) for x in specs]  # of text, empty strings
