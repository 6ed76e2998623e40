"""The document is valid, and says of a body what the service does with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.service.cards import CLASSES, CODE, COLOUR, IMAGE, ROOM, SCALAR, TOKENS, VALUE, WORD, card
from tests.service.schema.test_input_arrays import ANY_JSON, ROW
from thinned.models.card import Calibration, InputSpec, ModelCard
from thinned.models.errors import InputError
from thinned.models.sampling import SEEDS
from thinned.service.schema.input_arrays import largest_number
from thinned.service.schema.openapi import describe_api
from thinned.service.schema.request_fields import read_predict, read_predict_mc
from thinned.service.settings import Settings

SETTINGS = Settings(max_rows=3, max_length=4, max_samples=50)
FITTED = CLASSES.model_copy(
    update={"calibration": Calibration(rows=20, n_samples=32, temperature=1.1, scores=((0.5,),))}
)
CARDS = [
    card(),
    card([TOKENS], [VALUE]),
    card([IMAGE, SCALAR], [CLASSES, VALUE]),
    card([COLOUR]),
    card([WORD, CODE]),
    card([ROOM, COLOUR]),
    card([IMAGE], [FITTED, FITTED.model_copy(update={"name": "raw", "scale": "logits"}), VALUE]),
    card([IMAGE], [FITTED.model_copy(update={"scale": "logits"})]),
]


def schema_of(document: dict[str, Any], name: str) -> Draft202012Validator:
    """The component of this name, its references resolved within the whole document."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


@pytest.mark.parametrize("of", CARDS)
def test_it_is_valid_and_its_examples_fit(of: ModelCard) -> None:
    document = json.loads(json.dumps(describe_api(of, "v1", SETTINGS)))
    validate(document)
    for path, name in (("/predict", "PredictRequest"), ("/predict_mc", "PredictMcRequest")):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        schema_of(document, name).validate(content["example"])


@pytest.mark.parametrize("of", CARDS)
def test_a_generator_of_clients_finds_every_schema(of: ModelCard) -> None:
    """Each reference names a component as a whole: openapi-python-client drops what refers to anything inside one."""
    document = json.loads(json.dumps(describe_api(of, "v1", SETTINGS)))
    components = document["components"]["schemas"]
    found = list(references(document))
    assert {name for name, path in found if path == "#/components/schemas/"} <= set(components)
    assert {path for _, path in found} == {"#/components/schemas/"}
    assert "$defs" not in json.dumps(document)
    used = {name for name, _ in found}
    assert set(components) - used == set()
    for schema in components.values():
        Draft202012Validator.check_schema(schema)


def references(value: object) -> Iterator[tuple[str, str]]:
    """The name that each reference ends in, and what stands before it."""
    if isinstance(value, dict):
        if "$ref" in value:
            path, _, name = value["$ref"].rpartition("/")
            yield name, f"{path}/"
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_it_states_every_error_body() -> None:
    document = describe_api(CARDS[0], "v1", SETTINGS)
    responses = document["paths"]["/predict_mc"]["post"]["responses"]
    statuses = {"200", "400", "401", "406", "408", "409", "413", "415", "422", "429", "500", "502", "503", "504"}
    assert set(responses) == statuses
    assert set(document["paths"]["/predict"]["post"]["responses"]) == set(responses) - {"409"}
    assert all(list(responses[s]["content"]) == ["application/problem+json"] for s in responses if s != "200")
    assert "Retry-After" in responses["503"]["headers"]


EDGES = [
    value
    for most in (65504.0, 65519.99999999999, float(np.finfo("float32").max), 3.4028235677973362e38, 1e308)
    for value in (most, -most, math.nextafter(most, math.inf), -math.nextafter(most, math.inf))
]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_the_numbers_that_it_allows_are_those_that_are_taken(dtype: str) -> None:
    of = card([InputSpec(name="x", shape=(1,), dtype=dtype)])
    schema = schema_of(describe_api(of, "v1", SETTINGS), "PredictRequest")
    bound = largest_number(dtype)
    values = [*EDGES, bound, -bound, math.nextafter(bound, math.inf), 10**400, 0, 1e-320, 2**53 + 1]
    for value in [value for value in values if not isinstance(value, float) or math.isfinite(value)]:
        body = {"inputs": [[value]]}
        assert schema.is_valid(body) == is_taken(read_predict, body, of), value


@pytest.mark.parametrize("name", ["timeout_ms", "budget_ms", "tolerance"])
@pytest.mark.parametrize(
    "value",
    [0, -1, 5e-324, 0.001, 0.999, 1, 1.0, 1.5, 300_000, 300_000.1, 300_001, 1e308, 10**308, 10**309, None, True, "1"],
)
def test_the_times_that_it_allows_are_those_that_are_taken(name: str, value: object) -> None:
    body = {"inputs": [ROW], name: value}
    document = describe_api(CARDS[0], "v1", SETTINGS)
    assert schema_of(document, "PredictMcRequest").is_valid(body) == is_taken(read_predict_mc, body, CARDS[0])


def is_taken(read: Callable[[Any, ModelCard, Settings], object], body: dict[str, Any], of: ModelCard) -> bool:
    try:
        read(body, of, SETTINGS)
    except InputError:
        return False
    return True


def test_a_large_input_has_no_example() -> None:
    large = card([InputSpec(name="image", shape=(224, 224, 3), dtype="float32")])
    body = describe_api(large, "v1", SETTINGS)["paths"]["/predict"]["post"]["requestBody"]
    assert "example" not in body["content"]["application/json"]


def mixed(right: object) -> st.SearchStrategy[object]:
    return st.just(right) | st.just(right) | st.just(right) | ANY_JSON


# JSON Schema takes 2.0 for an integer, and NaN is no JSON: there the service is the stricter of the two, inputs aside.
BODIES = st.fixed_dictionaries(
    {"inputs": mixed([ROW]) | mixed([ROW] * 3) | mixed({"image": [ROW]})},
    optional={
        "n_samples": mixed(2) | st.integers(-5, 100),
        "seed": mixed(None) | st.integers(-1, SEEDS + 1),
        "quantiles": mixed([0.5, 0.9]) | st.lists(st.floats(0, 1), max_size=3),
        "return_samples": mixed(True),
        "more": ANY_JSON,
    },
)


@given(BODIES)
def test_a_body_is_taken_just_when_the_document_says_so(body: dict[str, object]) -> None:
    try:
        body = json.loads(json.dumps(body, allow_nan=False))
    except ValueError:
        return
    document = describe_api(CARDS[0], "v1", SETTINGS)
    valid = schema_of(document, "PredictMcRequest").is_valid(body)
    try:
        read_predict_mc(body, CARDS[0], SETTINGS)
    except InputError as error:
        stricter = any(".0" in p.msg for p in error.problems)
        assert not valid or stricter
    else:
        assert valid


LEAVES = st.none() | st.text(max_size=3) | st.integers(-3, 3)


@given(st.lists(LEAVES, max_size=4), st.lists(LEAVES, max_size=4))
def test_text_and_missing_values_are_taken_just_when_the_document_says_so(words: list[Any], codes: list[Any]) -> None:
    body = {"inputs": {"word": words, "code": codes}}
    of = CARDS[4]
    valid = schema_of(describe_api(of, "v1", SETTINGS), "PredictRequest").is_valid(body)
    try:
        read_predict(body, of, SETTINGS)
    except InputError as error:
        assert not valid or all("expected" in p.msg and "rows" in p.msg for p in error.problems)
    else:
        assert valid


def test_null_is_described_where_there_is_a_missing_value() -> None:
    named, records = describe_api(card([COLOUR, WORD]), "v1", SETTINGS)["components"]["schemas"]["Inputs"]["oneOf"]
    colour = {
        "type": ["string", "null"],
        "description": "null is a missing value, for which the model takes the string '[MASK]'.",
    }
    assert named["properties"]["colour"]["items"]["anyOf"][0] == colour
    assert named["properties"]["word"]["items"] == {"type": "string"}
    assert records["items"]["properties"]["colour"]["anyOf"][0] == colour


CELLS = st.none() | st.text(max_size=2) | st.integers(-1, 5) | st.sampled_from([1.0, 1.5, [1], ["red"], [1, 2], True])


@given(st.lists(st.dictionaries(st.sampled_from(["seats", "floor", "colour", "size"]), CELLS), max_size=4))
def test_records_are_taken_just_when_the_document_says_so(records: list[dict[str, Any]]) -> None:
    body = {"inputs": records}
    of = CARDS[5]
    valid = schema_of(describe_api(of, "v1", SETTINGS), "PredictRequest").is_valid(body)
    assert is_taken(read_predict, body, of) == valid


def test_right_records_are_taken() -> None:
    body = {"inputs": [{"colour": "red", "floor": 2, "seats": 4.0}, {"seats": 0, "floor": 1, "colour": None}]}
    assert schema_of(describe_api(CARDS[5], "v1", SETTINGS), "PredictRequest").is_valid(body)
    assert read_predict(body, CARDS[5], SETTINGS).inputs["room"].tolist() == [[4, 2], [0, 1]]
