"""Where a site stands in a model's graph: what comes before it, what its noise meets next, how near the output is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras

from thinned.models.dropout.partition.graph_partition import Partition, Step

__all__ = ["Placement", "placements"]

L = keras.layers
_SHAPING = (L.Activation, L.ReLU, L.LeakyReLU, L.ELU, L.PReLU, L.Softmax, L.Reshape, L.Flatten, L.Identity, L.Permute)
_BETWEEN = (*_SHAPING[:6], L.BatchNormalization, L.Identity, L.ZeroPadding1D, L.ZeroPadding2D, L.ZeroPadding3D)
_CONVOLUTIONS = tuple(
    getattr(L, f"{kind}{n}D")
    for kind in ("Conv", "SeparableConv", "DepthwiseConv", "MaxPooling", "AveragePooling")
    for n in (1, 2, 3)
    if hasattr(L, f"{kind}{n}D")
)


@dataclass(frozen=True)
class Placement:
    """Names of the layers around a site. `mixes`: the convolution or pooling that its noise meets, if any."""

    after: tuple[str, ...]
    before: tuple[str, ...]
    on_output: bool
    before_output: str | None
    mixes: str | None


def placements(partition: Partition | None, paths: Mapping[int, str]) -> dict[int, Placement]:
    """Places of the layers that are sites by themselves, by `id` of the layer; none where the graph is not known."""
    if partition is None:
        return {}
    writers = {value: step for step in partition.steps for value in step.writes}
    readers: dict[int, list[Step]] = {}
    for step in partition.steps:
        for value in set(step.reads.values()):
            readers.setdefault(value, []).append(step)
    graph = _Graph(partition, writers, readers, paths)
    return {id(step.operation): graph.place(step) for step in partition.steps if step.widens}


@dataclass(frozen=True)
class _Graph:
    partition: Partition
    writers: Mapping[int, Step]
    readers: Mapping[int, list[Step]]
    paths: Mapping[int, str]

    def place(self, site: Step) -> Placement:
        after = [self.writers[value] for value in site.reads.values() if value in self.writers]
        before = list(self._next(site, ()))
        on_output = self._reaches_output(site)
        last = next((step for step in self._next(site, _SHAPING) if self._reaches_output(step)), None)
        mixes = next((step for step in self._next(site, _BETWEEN) if isinstance(step.operation, _CONVOLUTIONS)), None)
        return Placement(
            after=tuple(self._name(step) for step in after if step.operation is not None),
            before=tuple(self._name(step) for step in before if step.operation is not None),
            on_output=on_output,
            before_output=None if on_output or last is None or last.operation is None else self._name(last),
            mixes=None if mixes is None else self._name(mixes),
        )

    def _next(self, step: Step, through: tuple[type, ...]) -> Iterator[Step]:
        """The steps that read what `step` writes; looks through borders of nested models, and through `through`."""
        for value in step.writes:
            for reader in self.readers.get(value, ()):
                if reader.operation is None or isinstance(reader.operation, through):
                    yield from self._next(reader, through)
                else:
                    yield reader

    def _reaches_output(self, step: Step) -> bool:
        """Whether what `step` writes is an output, but for its shape and activation."""
        if any(value in self.partition.outputs for value in step.writes):
            return True
        followers = [reader for value in step.writes for reader in self.readers.get(value, ())]
        return any(
            self._reaches_output(follower)
            for follower in followers
            if follower.operation is None or isinstance(follower.operation, _SHAPING)
        )

    def _name(self, step: Step) -> str:
        return self.paths.get(id(step.operation), step.operation.name)
