"""The fields of requests and answers as schemas: what a client may send, and what it gets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

import numpy as np

from thinned.models.card import InputSpec, ModelCard, OutputSpec
from thinned.models.sampling import ESTIMATORS, SAMPLINGS, SEEDS, Made
from thinned.models.uncertainty.promises import calibrated_passes, describe_promise
from thinned.service.schema.calibrated_fields import calibrated_request, tempered_answer
from thinned.service.schema.input_arrays import describe, largest_number, numpy_dtype
from thinned.service.schema.json_schema import Schema, array, by_output, object_of, or_null, reference, rows
from thinned.service.schema.ood_fields import ood_answer, ood_request
from thinned.service.schema.policy_fields import decision_fields, policy_request
from thinned.service.schema.reduce_field import reduced_fields, reduced_schema, reduction_schema
from thinned.service.schema.request_fields import LEAST_TIMEOUT_MS, MAX_QUANTILES
from thinned.service.schema.response_body import MOMENTS, OF_MEMBERS, PARTS, UNCERTAINTIES, has_label
from thinned.service.settings import Settings

__all__ = ["inputs", "predict_answer", "predict_mc_answer", "predict_mc_request", "predict_request"]

_MEANINGS = {
    "epistemic": "Variance of the network: over passes, the population variance (ddof=0) for probabilities.",
    "aleatoric": "Variance of the noise in the data that the network, or the card, expects; null where neither knows.",
    "total": "Both together: variance of a new target; null where the noise is not known.",
}


def predict_request(card: ModelCard, settings: Settings) -> Schema:
    """The body of `/predict`."""
    optional = {"timeout_ms": _timeout_ms(settings), "ood": ood_request(card)}
    return object_of({"inputs": reference("Inputs")}, optional)


def predict_answer(card: ModelCard) -> Schema:
    """The answer of `/predict`."""
    outputs = by_output(card.outputs, rows, named=len(card.outputs) > 1)
    required = {"outputs": outputs, **_predicted_label(card), "model": reference("ModelRef")}
    return object_of(required, ood_answer(card))


def inputs(specs: Sequence[InputSpec], settings: Settings) -> Schema:
    """The rows, as nested lists, by input name where there are several inputs; or as records."""
    arrays = {spec.name: _of_rows(_row(spec, settings), settings) for spec in specs}
    forms = [] if len(specs) > 1 else list(arrays.values())
    return {"oneOf": [*forms, object_of(arrays), _records(specs, settings)]}


def _of_rows(row: Schema, settings: Settings) -> Schema:
    return {"type": "array", "items": row, "minItems": 1, "maxItems": settings.max_rows}


def _row(spec: InputSpec, settings: Settings) -> Schema:
    """One row of an input; one value may stand for a list of one."""
    row = _nested(spec.shape, _value(spec), settings)
    return {"anyOf": [_value(spec), row]} if spec.shape == (1,) else row


def _records(specs: Sequence[InputSpec], settings: Settings) -> Schema:
    """An object for each row, its members the columns of the card, or the inputs."""
    members: dict[str, Schema] = {}
    for spec in specs:
        members |= dict.fromkeys(spec.columns, _value(spec)) if spec.columns else {spec.name: _row(spec, settings)}
    return {**_of_rows(object_of(members), settings), "description": "A record for each row."}


def _nested(shape: tuple[int | None, ...], value: Schema, settings: Settings) -> Schema:
    """Lists in lists."""
    schema = value
    for length in reversed(shape):
        shortest, longest = (1, settings.max_length) if length is None else (length, length)
        schema = {"type": "array", "items": schema, "minItems": shortest, "maxItems": longest}
    return schema


def _value(spec: InputSpec) -> Schema:
    """One value of an input; null too where the model takes something for a missing one."""
    schema = _present(spec)
    if spec.missing is None:
        return schema
    meaning = f"null is a missing value, for which the model takes {describe(spec.missing)}."
    return {**schema, "type": [schema["type"], "null"], "description": meaning}


def _present(spec: InputSpec) -> Schema:
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind == "O":
        return {"type": "string"}
    if spec.table_size is not None:
        whole = "integer" if dtype.kind in "iu" else "number"
        return {"type": whole, "minimum": 0, "maximum": spec.table_size - 1}
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    most = largest_number(spec.dtype)
    return {"type": "number", "minimum": -most, "maximum": most, "description": f"Finite in {dtype.name}."}


def predict_mc_request(card: ModelCard, settings: Settings) -> Schema:
    """The body of `/predict_mc`."""
    optional: dict[str, Schema] = {
        "n_samples": {
            "type": "integer",
            "minimum": 2,
            "maximum": settings.max_samples,
            "description": f"Monte Carlo passes; the most there may be with a tolerance or a budget_ms. By default "
            f"{settings.default_samples}; with a tolerance or a budget_ms as many as max_samples, max_row_passes and "
            "max_returned_numbers allow; with a coverage as many as were calibrated.",
        },
        "seed": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": SEEDS - 1,
            "default": None,
            "description": "Without one the service draws it, and returns it. Requests without one that are "
            "computed together may be given the same.",
        },
        "sampling": {
            "enum": list(SAMPLINGS),
            "default": SAMPLINGS[0],
            "description": "stratified: in 32 passes each unit is dropped as often as its rate says, so that fewer "
            "passes give the same error of the mean. independent: passes know nothing of each other.",
        },
        "estimator": {
            "enum": [*ESTIMATORS, None],
            "default": None,
            "description": "How mean and variance are made. best, the default: the last masks are not drawn where mean "
            "and variance over them are closed forms, and several are for each pass before a softmax or a sigmoid. "
            "passes: those of the passes themselves. With a coverage the default is what was calibrated, and anything "
            "else is answered 409.",
        },
        "tolerance": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "maximum": sys.float_info.max,
            "default": None,
            "description": "Stop when every row's largest standard error of the mean is below this, in the outputs' "
            "units, widened by Student's t for its degrees of freedom: mean ± 1.96 tolerance is then an interval of "
            "about 95 %. Looked at after each 32 passes, from 128 passes on. Without n_samples up to the limits.",
        },
        "budget_ms": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "maximum": sys.float_info.max,
            "default": None,
            "description": "Stop at the last 32 passes that end within this time. 32 are always drawn. Without "
            "n_samples up to the limits.",
        },
        "timeout_ms": _timeout_ms(settings),
        "quantiles": {
            "type": ["array", "null"],
            "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "minItems": 1,
            "maxItems": MAX_QUANTILES,
            "default": None,
            "description": "Levels of the quantiles over passes to return.",
        },
        "return_samples": {"type": "boolean", "default": False, "description": "Return every pass as well."},
        "calibrated": calibrated_request(card),
        **_request_parts(card),
        **reduction_schema(card),
    }
    return object_of({"inputs": reference("Inputs")}, optional)


def _timeout_ms(settings: Settings) -> Schema:
    return {
        "type": ["number", "null"],
        "minimum": LEAST_TIMEOUT_MS,
        "maximum": settings.max_timeout_ms,
        "default": settings.timeout_ms,
        "description": "After this time the work stops and the answer is a 504.",
    }


def predict_mc_answer(card: ModelCard) -> Schema:
    """The answer of `/predict_mc`."""
    named = len(card.outputs) > 1
    classifying = [output for output in card.outputs if output.task == "classification"]
    meanings = ("Mean over passes.", "Variance over passes, ddof 1.", "Monte Carlo standard error of the mean.")
    required: dict[str, Schema] = {
        name: {
            "description": meaning,
            **by_output(card.outputs, rows, named=named, optional=bool(reduced_fields(card))),
        }
        for name, meaning in zip(MOMENTS, meanings, strict=True)
    }
    if card.members:
        required |= _members_parts(card)
    required |= {
        "n_samples": {
            "type": "integer",
            "minimum": 0,
            "description": "Passes that the answer stands on; 0 where all of it is exact.",
        },
        "sampling": {"enum": list(SAMPLINGS)},
        "standard_error_from": {
            "enum": ["passes", "blocks", "exact"],
            "description": "passes: the variance over passes by their number, which overstates the error of "
            "stratified passes. blocks: the spread of the means of four or more blocks of 32. exact: there is none.",
        },
        "degrees_of_freedom": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "Of the standard error: passes, or full blocks, less 1. An interval about the mean is mean "
            "± t × standard_error, with Student's t for as many. Null where the error is exactly 0.",
        },
        "estimator": {
            "description": "What mean and variance are made of. passes: the passes. more_masks: passes, each with "
            "several last masks. closed_form: passes without their last masks, over which mean and variance are closed "
            "forms. exact: closed forms alone, so that their error is 0.",
            **by_output(card.outputs, lambda output: {"enum": list(get_args(Made))}, named=named),
        },
        "seed": {"type": "integer", "minimum": 0, "maximum": SEEDS - 1, "description": "Send it to get this again."},
        "model": reference("ModelRef"),
    }
    for name in UNCERTAINTIES if classifying else ():
        required[name] = {
            "description": "In nats, one number for each row, or for each classification in it.",
            **by_output(
                classifying,
                lambda output: rows(output, shape=output.shape[:-1]),
                named=named,
                optional=bool(reduced_fields(card)),
            ),
        }
    required |= _predicted_label(card)
    optional: dict[str, Schema] = {
        "converged": {
            "type": "array",
            "items": {"type": "boolean"},
            "description": "For each row, whether its standard errors, widened by Student's t, are below the "
            "tolerance.",
        },
        "stopped_by": {
            "enum": ["tolerance", "budget_ms", "n_samples", "limit", "exact"],
            "description": "What ended an answer with a tolerance or a budget_ms: that the tolerance was met, the "
            "time, the n_samples asked for, the most passes that the service's limits allow, or that it is exact.",
        },
        "quantiles": {
            "description": "One array for each level asked for, in that order.",
            **by_output(card.outputs, lambda output: array(rows(output)), named=named),
        },
        "samples": {
            "description": "One array for each pass.",
            **by_output(card.outputs, lambda output: array(rows(output)), named=named),
        },
        **tempered_answer(card),
        **_answer_parts(card),
        **reduced_schema(card),
        **ood_answer(card),
    }
    for name in reduced_fields(card):
        if name in required:
            optional[name] = required.pop(name)
    return object_of(required, optional)


def _members_parts(card: ModelCard) -> dict[str, Schema]:
    """The parts of the variance of an ensemble."""
    meanings = ("Mean over members of their variance over passes.", "Variance over members of their means, ddof 0.")
    return {
        name: {
            "description": meaning,
            **by_output(card.outputs, rows, named=len(card.outputs) > 1, optional=bool(reduced_fields(card))),
        }
        for name, meaning in zip(OF_MEMBERS, meanings, strict=True)
    }


def _predicted_label(card: ModelCard) -> dict[str, Schema]:
    """The names of the most probable classes, where classes have names."""
    labelled = [output for output in card.outputs if has_label(output)]
    if not labelled:
        return {}
    schema = by_output(labelled, _labels, named=len(card.outputs) > 1, optional=bool(reduced_fields(card)))
    meaning = "Label of the most probable class, for each row; of several labels, those of probability 0.5 or more."
    return {"predicted_label": {"description": meaning, **schema}}


def _labels(output: OutputSpec) -> Schema:
    schema: Schema = {"type": "string"}
    if output.task == "multilabel":
        schema = array(schema)
    for length in reversed(output.shape[:-1]):
        schema = array(schema, length)
    return array(schema)


def _request_parts(card: ModelCard) -> dict[str, Schema]:
    """The fields that ask for them."""
    passes = calibrated_passes(card)
    coverage: Schema = {
        "type": "null",
        "default": None,
        "description": "A number is answered 409: this model is not calibrated. Run thinned calibrate NAME --data "
        "val.npz, and serve the version that it makes.",
    }
    if passes is not None:
        refused = (
            f" n_samples is then {passes} by default; another number, independent passes, a tolerance or a budget_ms "
            "are answered 409, and so is a coverage that there were too few calibration rows for."
        )
        if card.draws_nothing:
            refused = " A coverage that there were too few calibration rows for is answered 409."
        coverage = {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": None,
            "description": "Give an interval, or a set of classes, that holds a new row's truth with at least this "
            "probability: over rows like those of the calibration, not for each row by itself. "
            f"{' '.join(describe_promise(output) for output in card.outputs)}{refused}",
        }
    return {
        "separate": {
            "type": "boolean",
            "default": False,
            "description": "Return epistemic, aleatoric and total variance.",
        },
        "coverage": coverage,
        "policy": policy_request(card),
        "ood": ood_request(card),
    }


def _answer_parts(card: ModelCard) -> dict[str, Schema]:
    """The fields that answer them."""
    outputs, named = card.outputs, len(card.outputs) > 1
    found = {
        part: {"description": meaning, **by_output(outputs, or_null(_target_rows), named=named)}
        for part, meaning in zip(PARTS, _MEANINGS.values(), strict=True)
    }
    found["not_known"] = {
        "description": "Why aleatoric and total are null.",
        **({"type": "object", "additionalProperties": {"type": "string"}} if named else {"type": "string"}),
    }
    found["coverage"] = {"type": "number", "description": "The coverage that was asked for."}
    found |= decision_fields(card)
    values = [output for output in outputs if output.task in ("regression", "gaussian", "quantile")]
    classes = [output for output in outputs if output not in values]
    if values:
        ends = by_output(values, lambda o: object_of({"lower": _end_rows(o), "upper": _end_rows(o)}), named=named)
        found["interval"] = {"description": "Ends of the intervals of this coverage.", **ends}
    if classes:
        members = by_output(classes, _members, named=named)
        found["prediction_set"] = {"description": "For each row the classes in its set.", **members}
    return found


def _target_rows(output: OutputSpec) -> Schema:
    """A number for each of the output's; of a gaussian output, for each of its means."""
    if output.task != "gaussian":
        return rows(output)
    return rows(output, shape=(*output.shape[:-1], (output.shape[-1] or 0) // 2))


def _end_rows(output: OutputSpec) -> Schema:
    """A number for each that has an interval: quantiles of the last axis are of one number."""
    return rows(output, shape=output.shape[:-1]) if output.task == "quantile" else _target_rows(output)


def _members(output: OutputSpec) -> Schema:
    """Names, or numbers, of classes, a list for each row."""
    schema = array({"type": "string"} if output.labels else {"type": "integer"})
    for _ in output.shape:
        schema = array(schema)
    return schema
