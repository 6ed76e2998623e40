"""What the models of one worker share: memory, the thread that computes, the place where they are counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from thinned.service.inference.compute_thread import ComputeThread
from thinned.service.inference.memory import MemoryBudget
from thinned.service.inference.model_room import ModelRoom, calls_bytes
from thinned.service.metrics import Metrics
from thinned.service.settings import Settings

__all__ = ["Resources"]

LARGEST_CALL = 1 << 30
"""Bytes that a call may use at its peak; less where there is little memory."""
SHADOW_BYTES = 64 << 20
"""What requests may hold that wait for a shadow; an eighth of what all may where that is less."""
NOISE_BYTES = 64 << 20
"""What noise of a model may take that is drawn ahead of requests; a sixteenth of what all may where that is less."""


@dataclass(frozen=True)
class Resources:
    """What a model of a worker takes of what all of its models share.

    Attributes:
        metrics: What is told of this model; the families are those of all.
        memory: What its requests hold beside the call under way; the limit is that of all.
        call_memory: Bytes that a call may use at its peak. There is one at a time, whichever model's it is.
        room: What loaded models may take.
        shadow_memory: Bytes that requests may hold which wait for a shadow.
        noise_memory: Bytes that noise may take which is drawn ahead of requests.
        thread: Computes for all.
        loading: Held while a model is loaded: one at a time.
    """

    metrics: Metrics
    memory: MemoryBudget
    call_memory: int
    room: ModelRoom
    shadow_memory: int = 0
    noise_memory: int = 0
    thread: ComputeThread = field(default_factory=ComputeThread)
    loading: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, settings: Settings, model: str) -> Resources:
        """Those of a worker, for its first model."""
        whole = calls_bytes(settings)
        call_memory = min(whole // 2, LARGEST_CALL)
        metrics = Metrics(model)
        shadows = sum(reference.shadow_of is not None for reference in settings.references)
        shadow_memory = min(SHADOW_BYTES, whole // 8) if shadows else 0
        answering = len(settings.references) - shadows
        noise_memory = min(NOISE_BYTES, whole // 16 // answering)
        held = call_memory + shadows * shadow_memory + answering * noise_memory
        budget = MemoryBudget(max(1, whole - held), metrics)
        return cls(metrics, budget, call_memory, ModelRoom(settings), shadow_memory, noise_memory)

    def beside(self, model: str) -> Resources:
        """Those of the same worker for another model."""
        metrics = self.metrics.beside(model)
        return replace(self, metrics=metrics, memory=self.memory.beside(metrics))
