"""The card of a stored model: what it takes, what it answers, and where it draws noise."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["InputSpec", "ModelCard", "OutputSpec", "SiteSpec", "SplitSpec", "Task"]

Task = Literal["regression", "classification"]
Scale = Literal["values", "probabilities", "logits"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Frozen):
    """One input. `shape` leaves out the axis of rows; `None` is a length that may vary."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class OutputSpec(_Frozen):
    """One output, and how its numbers are to be read.

    `scale` is "values" for regression. For classification the last axis holds one entry a class, either
    "probabilities" (softmax) or "logits"; a single sigmoid unit, or its logit, is the probability of class 1.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    task: Task
    scale: Scale = "values"
    labels: tuple[str, ...] | None = None


class SiteSpec(_Frozen):
    """One place where the network draws noise.

    `rate` is the probability that a unit is dropped; for `GaussianNoise` there is none and `stddev` is given. `calls`
    counts how often one forward pass draws here (a layer applied twice draws twice).
    """

    path: str
    kind: str
    rate: float | None = None
    stddev: float | None = None
    shape: tuple[int | None, ...] | None = Field(
        default=None, description="Shape of one pass's mask for one row; null where it is known only at run time."
    )
    calls: int = 1
    forced: bool = Field(
        default=False, description="Built with training=True; switched off in deterministic answers all the same."
    )


class SplitSpec(_Frozen):
    """How much of the model runs once (the prefix), and how much runs in every pass (the suffix).

    `prefix_share` is the share of floating-point operations, measured by TensorFlow's profiler on one row; null where
    it cannot tell.
    """

    prefix_layers: tuple[str, ...]
    suffix_layers: tuple[str, ...]
    frontier: tuple[str, ...]
    prefix_share: float | None = None


class ModelCard(_Frozen):
    """All that is known of a stored model. Stored beside `model.keras` as `card.json`."""

    name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    sites: tuple[SiteSpec, ...]
    split: SplitSpec
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of model.keras.")
    module_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Digest of layers.py, the module of custom objects, if there is one.",
    )
    keras_version: str
    thinned_version: str
    created: AwareDatetime
    warnings: tuple[str, ...] = ()
    scores: dict[str, float] = Field(default_factory=dict, description="Test scores, where the model was trained here.")
