"""What a card says of a calibration: what was fitted, and what is promised of a coverage and of a policy."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["Calibration", "Frozen", "OodReference", "Policy", "PolicyScore", "Promise", "SetKind", "SetRule"]


class Frozen(BaseModel):
    """A part of a card: it is not changed, and knows no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SetKind = Literal["plain", "aps", "raps"]


class SetRule(Frozen):
    """How the sets of a classification are made."""

    kind: SetKind = "plain"
    may_be_empty: bool = Field(
        default=False, description="Whether a plain set may hold no class; else it holds the likeliest in any case."
    )
    penalty: float | None = Field(default=None, ge=0, description="Of raps, for each class after the first ones.")
    unpenalised: int | None = Field(default=None, ge=1, description="Of raps, the number of classes without penalty.")


class Promise(Frozen):
    """What the intervals or sets of a coverage stand on: scores of rows that had no part in what the scores are of.

    A third of the rows (or groups) fits a temperature, a noise or a factor for the scores alone; the others are scored.
    The answer holds a new row's truth with probability C to about C + 1/(n + 1). Where a row has several positions, or
    rows come in groups, it holds a share of C to about C + 2/(n + 1) of a new row's positions, or of a new group's
    rows, on average; n counts rows, or groups. Of several labels it is the share of the true labels of a new row (of
    the rows of a new group); a row without any counts as held.
    """

    n: int = Field(ge=1, description="Rows, or groups, whose scores are kept; a coverage up to n/(n + 1) can be given.")
    counted: Literal["rows", "groups"] = Field(description="What n counts.")
    positions: int = Field(
        default=1, ge=1, description="Classifications in one row: the pixels of a map, or several labels."
    )
    sets: SetRule = Field(default=SetRule(may_be_empty=True), description="How the sets of a classification are made.")
    temperature: float | None = Field(default=None, gt=0, description="That the scores were made with.")
    variance_factor: float | None = Field(default=None, gt=0, description="That the scores were made with.")
    noise: tuple[float, ...] | None = Field(default=None, description="That the scores were made with.")


PolicyScore = Literal["entropy", "mutual_information", "variance"]


class Policy(Frozen):
    """Which rows to accept: those whose score is at most the threshold. The others are better not answered.

    With the confidence, over calibrations, the mean loss of the rows that are accepted is at most the risk.
    """

    score: PolicyScore = Field(
        description="Of a row, averaged over its positions, labels or numbers: of the passes' mean probabilities the "
        "entropy, the mutual information, or of a regression the variance."
    )
    threshold: float = Field(description="Rows with a score of at most this are accepted.")
    risk: float = Field(gt=0, lt=1, description="The mean loss that was asked for.")
    confidence: float = Field(gt=0, lt=1, description="How sure that is.")
    loss: Literal["wrong", "large error"] = Field(
        description="wrong: 1 where the answered class is wrong, of several positions or labels the share of them. "
        "large error: 1 where the mean is off by more than max_error, of several numbers the share of them."
    )
    max_error: float | None = Field(default=None, gt=0, description="In units of the target.")
    n: int = Field(ge=1, description="Rows, or groups, that the threshold was tested on; no other fold's.")
    counted: Literal["rows", "groups"] = Field(description="What n counts.")
    accepted: float = Field(ge=0, le=1, description="The share of these rows that were accepted.")
    measured: float = Field(ge=0, le=1, description="The mean loss of these.")


class Calibration(Frozen):
    """What was fitted on rows that the model was not trained on, by `thinned calibrate`.

    `scores` holds, sorted, a line for each kept score and in it a number for each unit (for a classification one): how
    many predictive deviations the target lay off, the score of the true class by the rule of its sets, or of several
    labels 1 less the probability of each true one. The bound for a coverage is one of them.
    """

    created: AwareDatetime | None = Field(default=None, description="When it was fitted.")
    rows: int = Field(ge=1, description="Calibration rows, all of them.")
    n_samples: int = Field(ge=2, description="Passes whose mean and variance were calibrated.")
    temperature: float | None = Field(
        default=None, gt=0, description="Divides the logarithms of the mean probabilities (Guo et al. 2017)."
    )
    variance_factor: float | None = Field(
        default=None, gt=0, description="Multiplies the variances that a gaussian output answers."
    )
    scores: tuple[tuple[float, ...], ...] = ()
    promise: Promise | None = Field(
        default=None,
        description="What coverage stands on; null for calibrations of earlier versions, whose coverage does not hold.",
    )
    policy: Policy | None = Field(default=None, description="Which rows to accept; null where none was asked for.")


class OodReference(Frozen):
    """What the p-values of `ood` stand on: the features of some rows, and how far others lie from the nearest of them.

    Both are in ood.npz beside the model. A row like the calibration rows has a p-value of at most a in a share of at
    most a of the cases.
    """

    created: AwareDatetime = Field(description="When it was fitted.")
    reference: int = Field(ge=1, description="Rows among which the nearest neighbour is looked for.")
    n: int = Field(ge=1, description="Rows, or groups, with which a distance is compared: none of the reference.")
    counted: Literal["rows", "groups"] = Field(description="What n counts.")
    tensors: tuple[str, ...] = Field(description="Tensors of the frontier, or inputs, that are looked at.")
    numbers: int = Field(ge=1, description="Numbers of a row in these; more than 256 are added up to 256.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of ood.npz.")
