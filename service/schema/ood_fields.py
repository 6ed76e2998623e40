"""The field that asks how unlike known rows a row is, and those that say it."""

from __future__ import annotations

from thinned.models.card import ModelCard
from thinned.models.uncertainty.nearest_rows import describe_ood
from thinned.service.schema.json_schema import Schema, array

__all__ = ["ood_answer", "ood_request"]


def ood_request(card: ModelCard) -> Schema:
    """The field of a request."""
    if card.ood is None:
        return {
            "const": False,
            "type": "boolean",
            "default": False,
            "description": "true is answered 409: this model was not calibrated for it. Run thinned calibrate NAME "
            "--data val.npz --ood, and serve the version that it makes.",
        }
    return {
        "type": "boolean",
        "default": False,
        "description": f"Say of each row how unlike the calibration rows it is. {describe_ood(card.ood)}",
    }


def ood_answer(card: ModelCard) -> dict[str, Schema]:
    """The fields of an answer; none for a model that cannot tell."""
    if card.ood is None:
        return {}
    number: Schema = {"type": "number", "minimum": 0}
    return {
        "ood_score": {
            **array(number),
            "description": "For each row, how far it lies from the nearest reference row.",
        },
        "ood_p_value": {
            **array({**number, "maximum": 1}),
            "description": "For each row, the share of scored rows, itself counted, that lie as far or farther: of "
            "rows like those of the calibration at most a share a has a p-value of at most a.",
        },
    }
