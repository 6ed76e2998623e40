"""The fields that ask for answers with the fitted temperature, and that give the plain ones beside them."""

from __future__ import annotations

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.uncertainty.mean_probabilities import has_temperature
from thinned.service.schema.json_schema import Schema, by_output, rows

__all__ = ["calibrated_request", "tempered_answer"]


def calibrated_request(card: ModelCard) -> Schema:
    """The field of a request."""
    if not any(output.calibration is not None for output in card.outputs):
        return {
            "const": False,
            "type": "boolean",
            "default": False,
            "description": "true is answered 409: this model is not calibrated. Run thinned calibrate NAME --data "
            "val.npz, and serve the version that it makes.",
        }
    return {
        "type": "boolean",
        "default": any(map(has_temperature, card.outputs)),
        "description": "Give the mean probabilities, and their entropy, with the temperature that was fitted; the "
        "plain ones stand beside them. Without a fitted temperature it changes nothing.",
    }


def tempered_answer(card: ModelCard) -> dict[str, Schema]:
    """The fields of an answer: those that some output of the model has."""
    named = len(card.outputs) > 1
    classes = [output for output in card.outputs if output.task in ("classification", "multilabel")]
    fitted = [output for output in classes if has_temperature(output)]
    logits = [output for output in classes if output.scale == "logits"]
    found: dict[str, Schema] = {}

    def field(name: str, meaning: str, outputs: list[OutputSpec], *, axis: bool = True) -> None:
        if outputs:
            schema = by_output(
                outputs, lambda o: rows(o, shape=o.shape if axis else o.shape[:-1]), named=named, optional=True
            )
            found[name] = {"description": meaning, **schema}

    field("mean_probabilities", "Mean over passes of the probabilities of an output of logits.", logits)
    if fitted:
        found["calibrated"] = {
            "const": True,
            "type": "boolean",
            "description": "There where mean probabilities and their entropy are tempered.",
        }
    field("plain_mean", "mean without the temperature.", [o for o in fitted if o.scale != "logits"])
    field("plain_mean_probabilities", "The same without the temperature.", [o for o in fitted if o in logits])
    entropies = [o for o in fitted if o.task == "classification"]
    field("plain_predictive_entropy", "Entropy of the mean without the temperature.", entropies, axis=False)
    return found
