"""The card of a stored model: what it takes, what it answers, and where it draws noise."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from thinned.models.calibration_card import (
    Calibration,
    Frozen,
    OodReference,
    Policy,
    PolicyScore,
    Promise,
    SetKind,
    SetRule,
)
from thinned.models.sampling import Made

__all__ = [
    "AuditedSite",
    "Calibration",
    "Finding",
    "ImageResize",
    "InputSpec",
    "Level",
    "MemberSpec",
    "ModelCard",
    "OodReference",
    "OutputSpec",
    "Policy",
    "PolicyScore",
    "Promise",
    "RowRecipe",
    "SetKind",
    "SetRule",
    "ShortAudit",
    "SiteSpec",
    "SplitSpec",
    "Task",
]

Task = Literal["regression", "gaussian", "quantile", "classification", "multilabel"]
Scale = Literal["values", "probabilities", "logits"]
ImageResize = Literal["nearest", "bilinear", "bicubic", "area", "bilinear-antialias", "bicubic-antialias"]
"""How an image is brought to an input's size: the methods of `tf.image.resize`, the last two with its antialias."""


class InputSpec(Frozen):
    """One input. `shape` leaves out the axis of rows; `None` is a length that may vary."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    missing: str | int | None = Field(
        default=None,
        description="What the model takes for a missing value, which null in a request stands for; null where it "
        "knows none.",
    )
    columns: tuple[str, ...] | None = Field(
        default=None,
        description="Columns of a table that hold a row of this input, the last axis fastest; null where they have no "
        "names of their own.",
    )
    table_size: int | None = Field(
        default=None,
        ge=1,
        description="Entries of the smallest table (embedding) that the values are looked up in: they are integers "
        "from 0 to one less; null where there is none, or none that can be seen.",
    )
    padding: bool | int | float | str | None = Field(
        default=None,
        description="What shorter rows of a request are filled up with at their end; null where all must be as long.",
    )
    image_resize: ImageResize | None = Field(
        default=None,
        description="How a PNG or JPEG of another size is brought to this input's height and width: by the method of "
        "tf.image.resize; null where it is refused.",
    )

    @property
    def numbers(self) -> int | None:
        """Values in one row; None where a length varies."""
        lengths = [length for length in self.shape if length is not None]
        return prod(lengths) if len(lengths) == len(self.shape) else None


class RowRecipe(Frozen):
    """How example rows of one input are made up; "given" where they are rows of the user's data, kept in rows.npz."""

    name: str
    shape: tuple[int, ...] = Field(description="Of one row, lengths that may vary filled in.")
    dtype: str = "float32"
    values: Literal["normal", "uniform", "integers", "booleans", "words", "text", "given"]
    low: float | None = Field(default=None, description="Least value; null where there is no bound.")
    high: float | None = Field(default=None, description="Largest value.")
    words: tuple[str, ...] = Field(default=(), description="Words that strings are made of.")
    integers: tuple[int, ...] = Field(default=(), description="Integers that a table knows, where few others are.")
    lows: tuple[float, ...] = Field(
        default=(),
        description="Of rows of the user's data, the least value of each number of a row, the last axis fastest; empty "
        "where there are no such rows, or more than 64 numbers in one.",
    )
    highs: tuple[float, ...] = Field(default=(), description="Likewise the largest values.")

    @property
    def typical(self) -> bool | int | float | str:
        """A value that the model answers, for the example of a request."""
        if self.words:
            return self.words[0]
        if self.integers:
            return self.integers[0]
        if self.dtype == "bool":
            return False
        low = self.low or 0.0
        return self._between(low, low if self.high is None else self.high)

    @property
    def typical_row(self) -> Any:
        """Such values for a whole row, as nested lists; of the user's data each from the middle of its range."""
        row: list[Any] = [self._between(*ends) for ends in zip(self.lows, self.highs, strict=True)]
        row = row or [self.typical] * prod(self.shape)
        for length in reversed(self.shape):
            row = [row[i : i + length] for i in range(0, len(row), max(length, 1))]
        return row[0] if row else []

    def _between(self, low: float, high: float) -> int | float:
        whole = self.values == "integers" or "int" in self.dtype
        return int(low) if whole else round((low + high) / 2, 4)

    def describe(self) -> str:
        """Of what kind the values are, in words."""
        if self.integers:
            known = ", ".join(map(str, self.integers[:3]))
            return f"integers of {known}{'…' if len(self.integers) > 3 else ''}"
        if self.values == "integers":
            return f"integers from {self.low:.0f} to {self.high:.0f}"
        if self.values == "uniform":
            return f"numbers from {self.low:g} to {self.high:g}"
        if self.values in ("words", "text"):
            kind = "single words" if self.values == "words" else "texts"
            return f"{kind} of {', '.join(map(repr, self.words[:3]))}{'…' if len(self.words) > 3 else ''}"
        return {"normal": "standard normal numbers", "booleans": "true and false", "given": "of the data"}[self.values]


class OutputSpec(Frozen):
    """One output, and how its numbers are to be read.

    `scale` is "values" for regression. For classification the last axis holds one entry a class, either
    "probabilities" (softmax) or "logits"; a single sigmoid unit, or its logit, is the probability of class 1. For
    "multilabel" the last axis holds one sigmoid, or its logit, a label. For "gaussian" it holds K means and then the
    logarithms of K variances, in the units of the target (Kendall & Gal 2017). For "quantile" it holds quantiles of one
    number, of the given `levels`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    task: Task
    scale: Scale = "values"
    labels: tuple[str, ...] | None = None
    levels: tuple[float, ...] | None = Field(
        default=None, description="Of quantiles, the level of each entry of the last axis, ascending; else null."
    )
    noise: tuple[float, ...] | None = Field(
        default=None,
        description="Variance of the observation noise of a regression, a number for each unit, in squared units of "
        "the target; null where it is not known.",
    )
    calibration: Calibration | None = None
    estimator: Made | None = Field(
        default=None,
        description="What mean and variance over passes are made of, unless passes are asked for: passes, more_masks "
        "(passes, each with several last masks), closed_form (passes without their last masks, over which both are "
        "closed forms), or exact (closed forms alone: no pass is drawn); null for versions of earlier imports, where "
        "answers tell it.",
    )
    estimator_note: str | None = Field(default=None, description="Why it is passes.")
    members: int = Field(default=1, ge=1, description="How many models' answers are pooled into it; 1 for no ensemble.")


class SiteSpec(Frozen):
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


class MemberSpec(Frozen):
    """One member of an ensemble: the stored model that was put into it. It may be deleted afterwards."""

    name: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of its model.keras.")


class SplitSpec(Frozen):
    """How much of the model runs once (the prefix), and how much runs in every pass (the suffix).

    `prefix_share` is the share of floating-point operations, measured by TensorFlow's profiler on one row; null where
    it cannot tell.
    """

    prefix_layers: tuple[str, ...]
    suffix_layers: tuple[str, ...]
    frontier: tuple[str, ...]
    prefix_share: float | None = None


Level = Literal["error", "warning", "note"]


class Finding(Frozen):
    """Something that an audit found. Errors make answers wrong, warnings make them doubtful, notes explain them."""

    level: Level
    code: str = Field(description="Stable name of the kind of finding.")
    site: str | None = Field(default=None, description="Path of the layer it is about; null for the whole model.")
    text: str
    reference: str | None = None
    remedy: str | None = None


class AuditedSite(Frozen):
    """One site as measured. `low` and `high` bound the true frequency of drops with 99 % confidence."""

    path: str
    kind: str
    rate: float | None = None
    frequency: float | None = Field(default=None, description="Share of units that were dropped; null if none can be.")
    low: float | None = None
    high: float | None = None
    correct: bool = Field(description="Whether all that was measured here is as it should be.")
    keras_correct: bool | None = Field(
        default=None, description="The same of Keras's own layer under training=True; null if it was not measured."
    )


class ShortAudit(Frozen):
    """The short form of an audit: `thinned audit NAME` measures more."""

    verdict: str
    sites: tuple[AuditedSite, ...] = ()
    findings: tuple[Finding, ...] = ()


class ModelCard(Frozen):
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
    members: tuple[MemberSpec, ...] = Field(
        default=(), description="The models that an ensemble was made of; none for a model by itself."
    )
    package: str | None = Field(
        default=None, description="Installed package of custom objects, which is imported before the model is loaded."
    )
    examples: tuple[RowRecipe, ...] = Field(
        default=(), description="Rows on which the model was checked at import, and is checked when it is loaded."
    )
    rows_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Digest of rows.npz, a few rows of the user's data, if some were given.",
    )
    keras_version: str
    thinned_version: str
    created: AwareDatetime
    note: str | None = Field(default=None, description="A person's words on this version.")
    import_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Digest of the file that was imported with its module and all options: the same import is known by "
        "it.",
    )
    warnings: tuple[str, ...] = ()
    audit: ShortAudit | None = Field(default=None, description="What the import's audit found; null if it could not.")
    ood: OodReference | None = Field(
        default=None, description="What tells how unlike the calibration rows a row is; null where none were given."
    )
    scores: dict[str, float] = Field(default_factory=dict, description="Test scores, where the model was trained here.")

    @property
    def has_passes(self) -> bool:
        """Whether its answers have a variance: it draws noise, or has several members."""
        return bool(self.sites) or bool(self.members)

    @property
    def draws_nothing(self) -> bool:
        """Whether it is an ensemble without noise, which answers the same whatever passes are asked for."""
        return bool(self.members) and not self.sites

    def summary(self) -> dict[str, Any]:
        """The card as JSON without the conformal scores, which are many numbers that say little to a reader."""
        return self.model_dump(mode="json", exclude={"outputs": {"__all__": {"calibration": {"scores"}}}})

    def recipe(self, spec: InputSpec) -> RowRecipe:
        """How example rows of an input are made; of a card that does not say, zeros."""
        known = {recipe.name: recipe for recipe in self.examples}
        shape = tuple(n or 1 for n in spec.shape)
        words = ("word",) if spec.dtype == "string" else ()
        return known.get(
            spec.name,
            RowRecipe(name=spec.name, shape=shape, dtype=spec.dtype, values="uniform", low=0, high=0, words=words),
        )
