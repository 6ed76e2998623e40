"""The field that asks which rows to accept, and those that say it."""

from __future__ import annotations

from thinned.models.card import ModelCard
from thinned.models.uncertainty.policies import describe_policy, has_policy, policy_passes
from thinned.service.schema.json_schema import Schema, array, by_output, object_of

__all__ = ["decision_fields", "policy_request"]


def policy_request(card: ModelCard) -> Schema:
    """The field that asks for decisions."""
    told = [described for output in card.outputs if (described := describe_policy(output)) is not None]
    if not told:
        return {
            "const": False,
            "type": "boolean",
            "default": False,
            "description": "true is answered 409: this model has no policy. Run thinned calibrate NAME --data val.npz "
            "--risk 0.05, and serve the version that it makes.",
        }
    refused = (
        f" n_samples is then {policy_passes(card)} by default; another number, independent passes, a tolerance or a "
        "budget_ms are answered 409."
    )
    return {
        "type": "boolean",
        "default": False,
        "description": f"Say of each row whether to accept its answer. {' '.join(told)}"
        f"{'' if card.draws_nothing else refused}",
    }


def decision_fields(card: ModelCard) -> dict[str, Schema]:
    """The fields of an answer with a policy; none for a model without one."""
    deciding, named = [output for output in card.outputs if has_policy(output)], len(card.outputs) > 1
    if not deciding:
        return {}

    def of(schema: Schema, meaning: str) -> Schema:
        return {"description": meaning, **by_output(deciding, lambda output: schema, named=named)}

    number: Schema = {"type": "number"}
    promised = object_of(
        {
            "score": {"enum": ["entropy", "mutual_information", "variance"], "description": "What the score is."},
            "risk": {**number, "description": "The mean loss that accepted rows have at most."},
            "confidence": {**number, "description": "How sure that is, over calibrations."},
            "loss": {"enum": ["wrong", "large error"], "description": "What is lost."},
            "n": {"type": "integer", "description": "Rows, or groups, that the threshold was tested on."},
            "counted": {"enum": ["rows", "groups"], "description": "What n counts."},
            "accepted": {**number, "description": "The share of these that were accepted."},
            "measured": {**number, "description": "The mean loss of these."},
        },
        {"max_error": {**number, "description": "Beyond which an error is a large one, in units of the target."}},
    )
    decision: Schema = {"enum": ["accept", "abstain"]}
    return {
        "decision": of(array(decision), "For each row, whether its score is at most the threshold."),
        "score": of(array(number), "For each row, what the policy goes by."),
        "threshold": of(number, "The largest score that is accepted."),
        "promised": of(promised, "What is promised of the rows that are accepted, and what that stands on."),
    }
