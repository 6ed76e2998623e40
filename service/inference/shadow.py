"""A second model that answers, unseen, what a first one has answered, and how far the two disagree.

Nothing of it can be noticed in the first one's answers: it takes a request when that has its answer, holds memory of
its own, computes where nothing else waits, a few milliseconds at a time, and lets go what it has no room for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from thinned.models.card import ModelCard
from thinned.models.errors import NotReadyError, SettingsError, ThinnedError
from thinned.models.sampling import BLOCK
from thinned.models.storage.stored_model import StoredModel
from thinned.models.uncertainty.comparison import OutputComparison
from thinned.models.uncertainty.paired_means import LEVEL
from thinned.service.schema.request_fields import PredictRequest, SampleRequest

if TYPE_CHECKING:
    from thinned.models.dropout import MonteCarloRun
    from thinned.service.inference.jobs import Job, PredictJob, SampleJob
    from thinned.service.inference.model_manager import ModelManager
    from thinned.service.inference.served_model import ServedModel

__all__ = ["Shadow", "check_comparable"]

MOST_WAITING = 64
"""Requests that may wait for a shadow."""
MOST_NUMBERS = 262_144
"""Numbers of an answer that is compared: more would hold the compute thread for longer than a call may take."""
_NUMBER_BYTES = 64
"""Of a number of an output: what is kept of both answers."""
Asked: TypeAlias = "PredictRequest | SampleRequest"

log = logging.getLogger("bentoml.thinned")


class Comparison:
    """What is known of one version of each model. Safe to use from several threads.

    Args:
        model: The one that answers requests.
        shadow: The one that answers unseen.
    """

    def __init__(self, model: StoredModel, shadow: StoredModel) -> None:
        self.model, self.shadow = model, shadow
        self.why_not = difference_of(model.card, shadow.card)
        """Why the two cannot be compared; None where they can."""
        self._rows = {"compared": 0, "dropped": 0, "failed": 0}
        self._lock = threading.Lock()
        pairs = {} if self.why_not else {spec.name: spec for spec in shadow.card.outputs}
        specs = [(spec, pairs[spec.name]) for spec in model.card.outputs if spec.name in pairs]
        self._outputs = {
            one.name: {way: OutputComparison((one, other)) for way in ("predict", "predict_mc")} for one, other in specs
        }

    def is_of(self, model: StoredModel, shadow: StoredModel) -> bool:
        """Whether it is of these versions."""
        return (self.model.tag, self.shadow.tag) == (model.tag, shadow.tag)

    def count(self, fate: str, rows: int) -> None:
        """So many rows were `compared`, `dropped` or have `failed`."""
        with self._lock:
            self._rows[fate] += rows

    def add(self, way: str, one: Any, other: Any, *more: Any) -> None:
        """Add both answers to a request, by output name; raises as `OutputComparison` does."""
        with self._lock:
            for name, compared in self._outputs.items():
                add = compared[way].add_predicted if way == "predict" else compared[way].add_sampled
                add(one[name], other[name], *more)

    def told(self) -> dict[str, Any]:
        """All of it, as JSON."""
        with self._lock:
            return {
                "model": {"name": self.model.card.name, "version": self.model.version},
                "shadow": {"name": self.shadow.card.name, "version": self.shadow.version},
                "confidence": LEVEL,
                "rows": dict(self._rows),
                "outputs": {
                    name: {way: one.told() for way, one in ways.items()} for name, ways in self._outputs.items()
                },
                "note": self.why_not,
            }


class Shadow:
    """Has a model answer again what another has answered. All is called from the event loop, but for `_end`.

    Args:
        model: The one that answers requests.
        shadow: The one that answers unseen.
        limit: Bytes that may wait.
    """

    def __init__(self, model: ModelManager, shadow: ModelManager, limit: int) -> None:
        self.manager = shadow
        self._model, self._limit = model, limit
        self._comparison: Comparison | None = None
        self._waiting = self._held = 0

    def told(self) -> dict[str, Any]:
        """What is known of the versions that are served now.

        Raises:
            NotReadyError: One of them is not loaded.
        """
        return self._of(self._model.served.stored, self.manager.served.stored).told()

    def offer(self, model: StoredModel, request: Asked, job: PredictJob | SampleJob) -> None:
        """Take a request that has its answer, where there is room for it. Raises nothing, whatever happens."""
        try:
            served = self.manager.served
        except NotReadyError:
            return self._count(None, "dropped", job.rows)
        comparison = self._of(model, served.stored)
        try:
            self._take(comparison, served, request, job)
        except Exception as error:
            self._failed(comparison, job.rows, error)

    def _take(self, comparison: Comparison, served: ServedModel, request: Asked, job: PredictJob | SampleJob) -> None:
        numbers = served.engine.numbers_per_row(request.inputs) * job.rows
        size = sum(array.nbytes for array in request.inputs.values()) + _NUMBER_BYTES * numbers
        full = self._waiting >= MOST_WAITING or self._held + size > self._limit
        if comparison.why_not is not None or full or numbers > MOST_NUMBERS:
            self._count(comparison, "dropped", job.rows)
            return
        first: Any = job
        again: Any
        if isinstance(request, SampleRequest):
            again = _sample_again(served, request, first.run)
            again.on_end = partial(self._end, comparison, "predict_mc", first.run.statistics(), request.sampling)
        else:
            again = _predict_again(served, request)
            again.on_end = partial(self._end, comparison, "predict", first.outputs, None)
        self._waiting += 1
        self._held += size
        again.answered = partial(self._given, served, size)
        served.borrow()
        served.submit(again, asyncio.get_running_loop())

    def _given(self, served: ServedModel, size: int) -> None:
        """One that waited has ended."""
        self._waiting -= 1
        self._held -= size
        served.give_back()

    def _end(self, comparison: Comparison, way: str, first: Any, sampling: Any, again: Job) -> None:
        """In the compute thread: compare, where the answer is there."""
        try:
            if again.error is not None:
                raise again.error
            if way == "predict":
                comparison.add(way, first, again.outputs)  # type: ignore[attr-defined]
            else:
                comparison.add(way, first, again.run.statistics(), sampling)  # type: ignore[attr-defined]
        except Exception as error:
            self._failed(comparison, again.rows, error)
        else:
            self._count(comparison, "compared", again.rows)

    def _of(self, model: StoredModel, shadow: StoredModel) -> Comparison:
        if self._comparison is None or not self._comparison.is_of(model, shadow):
            self._comparison = Comparison(model, shadow)
        return self._comparison

    def _failed(self, comparison: Comparison, rows: int, error: Exception) -> None:
        self._count(comparison, "failed", rows)
        if not isinstance(error, ThinnedError):
            log.error("%s, a shadow, could not answer: %s", comparison.shadow.tag, error)

    def _count(self, comparison: Comparison | None, fate: str, rows: int) -> None:
        self._model.metrics.shadowed(fate, rows)
        if comparison is not None:
            comparison.count(fate, rows)


def _predict_again(served: ServedModel, request: PredictRequest) -> PredictJob:
    """A job for the deterministic answer to what another model has answered."""
    from thinned.service.inference.jobs import PredictJob

    return PredictJob(request.inputs, row_passes=served.row_passes(request.inputs, "predict"))


def _sample_again(served: ServedModel, request: SampleRequest, run: MonteCarloRun) -> SampleJob:
    """The same over passes: as many, of the same seed, as the run of the other model has."""
    from thinned.models.dropout import MonteCarloRun
    from thinned.service.inference.jobs import SampleJob

    model = served.engine.model
    model.require_passes()
    exact = model.needs_no_pass(request.estimator, keep_passes=False)
    kind = (request.sampling, "exact" if exact else request.estimator)
    # Of calls in pieces where they have been measured: a first call, which takes long, would else keep pieces small.
    in_pieces, whole = (served.row_passes(request.inputs, way, *kind) for way in ("chunks", "whole"))
    limit = served.row_passes(request.inputs, "none")
    most = min(limit, max(BLOCK, in_pieces if in_pieces < limit else whole))
    again = MonteCarloRun(
        request.inputs,
        served.engine.output_names,
        row_passes=most,
        n_samples=request.n_samples if run.exact else run.drawn,
        seed=run.seed,
        sampling=request.sampling,
        estimator=request.estimator,
        exact=exact,
    )
    return SampleJob(request.inputs, again, row_passes=most)


def check_comparable(model: StoredModel, shadow: StoredModel) -> None:
    """Refuse a shadow that takes or answers something else than the model does.

    Raises:
        SettingsError: It does; the text says what.
    """
    why_not = difference_of(model.card, shadow.card)
    if why_not is not None:
        raise SettingsError(f"{shadow.tag} cannot be a shadow of {model.tag}: {why_not}")


def difference_of(one: ModelCard, other: ModelCard) -> str | None:
    """What two models take or answer differently; None where they can be compared."""
    taken = [[(spec.name, spec.shape, spec.dtype) for spec in card.inputs] for card in (one, other)]
    answered = [[(spec.name, spec.shape, spec.task) for spec in card.outputs] for card in (one, other)]
    for verb, (mine, theirs) in (("takes", taken), ("answers", answered)):
        if sorted(map(str, mine)) != sorted(map(str, theirs)):
            return f"one {verb} {_listed(mine)}, the other {_listed(theirs)}"
    labels = {spec.name: spec.labels for spec in other.outputs}
    for spec in one.outputs:
        if spec.labels and labels[spec.name] and spec.labels != labels[spec.name]:
            return f"the classes of {spec.name} have other names, or another order"
    return None


def _listed(specs: Sequence[tuple[Any, ...]]) -> str:
    return ", ".join(f"{name} {tuple(shape)} {kind}" for name, shape, kind in specs)
