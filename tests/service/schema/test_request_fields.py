from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.service.cards import card
from tests.service.schema.test_input_arrays import ANY_JSON, ROW
from thinned.models.errors import InputError, MalformedBodyError
from thinned.models.sampling import SEEDS
from thinned.service.schema.request_body import _parse_slowly, parse, parse_fast
from thinned.service.schema.request_fields import (
    SampleRequest,
    read_predict,
    read_predict_mc,
)
from thinned.service.settings import Settings

CARD = card()
SETTINGS = Settings(max_rows=8, max_samples=100, max_row_passes=200)


def read(**fields: object) -> SampleRequest:
    return read_predict_mc({"inputs": [ROW], **fields}, CARD, SETTINGS)


def refused(**fields: object) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InputError) as caught:
        read(**fields)
    return [tuple(problem) for problem in caught.value.problems]


def test_defaults() -> None:
    request = read()
    assert (request.n_samples, request.quantiles, request.return_samples) == (32, None, False)
    assert request.seed is None
    assert (request.sampling, request.tolerance, request.budget_ms) == ("stratified", None, None)
    assert request.timeout_ms == 30_000


@pytest.mark.parametrize("alone", [{"tolerance": 0.1}, {"budget_ms": 5}, {"tolerance": 0.1, "budget_ms": 5}])
def test_without_a_number_an_adaptive_request_goes_up_to_the_limits(alone: dict[str, float]) -> None:
    request = read(**alone)
    assert (request.n_samples, request.at_limit) == (SETTINGS.max_samples, True)
    many = read(inputs=[ROW] * 3, **alone)
    assert (many.n_samples, many.at_limit) == (SETTINGS.max_row_passes // 3, True)
    asked = read(n_samples=7, **alone)
    assert (asked.n_samples, asked.at_limit) == (7, False)


def test_kept_passes_lower_the_most_there_may_be() -> None:
    settings = SETTINGS.model_copy(update={"max_returned_numbers": 64})
    body = {"inputs": [ROW], "tolerance": 0.1, "quantiles": [0.5]}
    request = read_predict_mc(body, CARD, settings)
    assert read_predict_mc({**body, "n_samples": request.n_samples}, CARD, settings).n_samples == request.n_samples
    with pytest.raises(InputError):
        read_predict_mc({**body, "n_samples": request.n_samples + 1}, CARD, settings)


def test_seeds_are_kept_when_sent() -> None:
    assert read(seed=SEEDS - 1).seed == SEEDS - 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("n_samples", value) for value in (1, 0, -3, 101, 32.5, True, "32", None, [32], 10**400, math.nan)],
        *[("seed", value) for value in (-1, SEEDS, 1.5, 1e300, True, "1", [1], math.inf)],
        *[("quantiles", value) for value in ([], 0.5, "0.5", {}, [0.5] * 100)],
        *[("return_samples", value) for value in (0, 1, "true", None, [])],
    ],
)
def test_a_wrong_field_is_named_with_what_it_should_be(field: str, value: object) -> None:
    [(loc, message)] = refused(**{field: value})
    assert loc == (field,)
    assert message.startswith("expected ")
    assert ", received " in message


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, math.nan, "0.5", None, True])
def test_a_wrong_quantile_is_named_by_its_place(level: object) -> None:
    [(loc, _)] = refused(quantiles=[0.5, level])
    assert loc == ("quantiles", 1)


def test_everything_wrong_is_told_at_once() -> None:
    found = refused(inputs=[[[None] * 3] * 2], n_samples=1, seed=-1, samples=7)
    assert [loc for loc, _ in found][:4] == [("samples",), ("n_samples",), ("seed",), ("inputs", 0, 0, 0)]


def test_fields_must_be_known_and_inputs_be_there() -> None:
    with pytest.raises(InputError, match="n_samples: unknown field; expected inputs"):
        read_predict({"inputs": [ROW], "n_samples": 3}, CARD, SETTINGS)
    with pytest.raises(InputError, match="inputs: this field is required"):
        read_predict({}, CARD, SETTINGS)


def test_work_is_limited_by_rows_times_samples() -> None:
    assert read(inputs=[ROW] * 2, n_samples=100).n_samples == 100
    [(loc, message)] = refused(inputs=[ROW] * 3, n_samples=100)
    assert loc == ("n_samples",)
    assert "3 × 100 = 300" in message


def test_memory_is_limited_by_the_numbers_that_an_answer_holds() -> None:
    settings = Settings(max_returned_numbers=100)
    body = {"inputs": [ROW], "n_samples": 30}
    assert read_predict_mc(body, CARD, settings)
    for more in ({"return_samples": True}, {"quantiles": [0.5]}):
        with pytest.raises(InputError, match="at most 100 numbers"):
            read_predict_mc({**body, **more}, CARD, settings)
    with pytest.raises(InputError, match="at most 100 numbers"):
        read_predict({"inputs": [ROW] * 26}, CARD, settings)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"inputs": [1,]}',
        b"[1]",
        b"null",
        b'"inputs"',
        b'\xef\xbb\xbf{"inputs": []}',
        b'{"inputs": "\xff"}',
        b'{"inputs": ' + b"9" * 5000 + b"}",
        b'{"inputs": ' + b"[" * 100_000,
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"inputs": [], "inputs": []}',
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBodyError, match="expected"):
        parse(body)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        assert isinstance(parse(body), dict)
    except MalformedBodyError as error:
        assert str(error).isprintable()


@given(ANY_JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        document = parse(json.dumps(value).encode())
    except MalformedBodyError:
        assert not isinstance(value, dict)
    else:
        with pytest.raises(InputError):
            read_predict_mc(document, CARD, SETTINGS)


@given(ANY_JSON | st.fixed_dictionaries({"inputs": ANY_JSON, "n_samples": ANY_JSON, "sampling": st.text()}))
def test_the_fast_way_reads_what_the_slow_one_does(document: object) -> None:
    body = json.dumps(document).encode()
    # Integers beyond 64 bits are floats to orjson. No field takes one, and no array holds one.
    assume(not re.search(rb"\d{19}", body))
    fast = parse_fast(body)
    if fast is not None:
        assert fast == _parse_slowly(body)
        assert list(map(type, fast.values())) == list(map(type, _parse_slowly(body).values()))
