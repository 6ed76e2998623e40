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


@dataclass(frozen=True)
class Resources:
    """What a model of a worker takes of what all of its models share.

    Attributes:
        metrics: What is told of this model; the families are those of all.
        memory: What its requests hold beside the call under way; the limit is that of all.
        call_memory: Bytes that a call may use at its peak. There is one at a time, whichever model's it is.
        room: What loaded models may take.
        thread: Computes for all.
        loading: Held while a model is loaded: one at a time.
    """

    metrics: Metrics
    memory: MemoryBudget
    call_memory: int
    room: ModelRoom
    thread: ComputeThread = field(default_factory=ComputeThread)
    loading: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, settings: Settings, model: str) -> Resources:
        """Those of a worker, for its first model."""
        whole = calls_bytes(settings)
        call_memory = min(whole // 2, LARGEST_CALL)
        metrics = Metrics(model)
        return cls(metrics, MemoryBudget(whole - call_memory, metrics), call_memory, ModelRoom(settings))

    def beside(self, model: str) -> Resources:
        """Those of the same worker for another model."""
        metrics = self.metrics.beside(model)
        return replace(self, metrics=metrics, memory=self.memory.beside(metrics))
