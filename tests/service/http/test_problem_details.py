from __future__ import annotations

import json
import re

import pytest
from starlette.exceptions import HTTPException

from thinned.models import errors
from thinned.models.errors import InputError, NoSitesError, Problem, ThinnedError
from thinned.service.http.problem_details import ProblemResponse, problem
from thinned.service.http.request_id import current_request_id
from thinned.service.schema.problem_table import TABLE


def document(response: ProblemResponse) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    read: dict[str, object] = json.loads(response.body)
    assert read["status"] == response.status_code
    assert {"title", "status", "detail"} <= set(read) <= {"title", "status", "detail", "errors"}
    return read


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.MalformedBodyError("no"), 400),
        (errors.BodyTooLargeError("no"), 413),
        (errors.UnsupportedBodyError("no"), 415),
        (InputError([Problem((), "no")]), 422),
        (NoSitesError("no"), 422),
        (errors.TokenError("no"), 401),
        (errors.RateError("no", retry_after_s=1), 429),
        (errors.AnswerNotFiniteError("no"), 502),
        (errors.NotReadyError("no"), 503),
        (errors.OverloadedError("no"), 503),
    ],
)
def test_every_error_of_a_client_has_its_status(error: Exception, status: int) -> None:
    assert type(error) in TABLE
    response = problem(error)
    assert document(response)["detail"] == "no"
    assert response.status_code == status
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert ("www-authenticate" in response.headers) == (status == 401)


def kinds(of: type[ThinnedError]) -> set[type[ThinnedError]]:
    return {of}.union(*(kinds(kind) for kind in of.__subclasses__()))


# Raised by commands, or before the service listens.
NOT_OF_REQUESTS = {
    errors.UnsupportedModelError,
    errors.UnknownNoiseError,
    errors.WarmUpError,
    errors.ExportError,
    errors.ModelFileError,
    errors.ModelNotFoundError,
    errors.ModelExistsError,
    errors.AliasError,
    errors.ModelDiffersError,
    errors.ModelCorruptError,
    errors.UsageError,
    errors.SettingsError,
}
BASES = {
    errors.ThinnedError,
    errors.StoreError,
    errors.RequestError,
    errors.AccessError,
    errors.AvailabilityError,
}


def test_every_error_is_in_the_table_or_is_none_of_a_request() -> None:
    of_requests = kinds(ThinnedError) - NOT_OF_REQUESTS - BASES - {errors.ClientGoneError}
    assert {kind for kind in of_requests if kind.__module__ == errors.__name__} == set(TABLE)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = [line for line in (errors.__doc__ or "").splitlines() if re.search(r"\w+Error\b", line)]
    parents: list[str] = []
    seen = {}
    for line in drawn:
        name = re.search(r"\w+Error\b", line)
        if name is None or line.startswith("Every"):
            continue
        depth = name.start() // 4
        parents[depth:] = [name[0]]
        seen[name[0]] = parents[depth - 1] if depth else "Exception"
    own = {kind for kind in kinds(ThinnedError) if kind.__module__ == errors.__name__}
    assert seen == {kind.__name__: kind.__bases__[0].__name__ for kind in own}


def test_one_problem_is_the_detail_with_its_place() -> None:
    assert document(problem(InputError([Problem(("inputs", 3), "a")])))["detail"] == "inputs.3: a"


def test_several_problems_are_listed_with_their_places() -> None:
    read = document(problem(InputError([Problem(("inputs", 3), "a"), Problem(("seed",), "b")])))
    assert read["errors"] == [{"loc": ["inputs", 3], "msg": "a"}, {"loc": ["seed"], "msg": "b"}]
    assert read["detail"] == "2 problems; see errors"


@pytest.mark.parametrize("error", [RuntimeError("secret"), errors.ModelCorruptError("secret")])
def test_nothing_of_an_unexpected_error_is_shown(error: Exception) -> None:
    response = problem(error)
    assert response.status_code == 500
    assert b"secret" not in response.body


def test_a_refusal_of_the_router_keeps_its_headers() -> None:
    response = problem(HTTPException(405, headers={"Allow": "POST"}))
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert document(response)["title"] == "Method Not Allowed"


def test_text_of_a_client_that_is_no_unicode_can_be_repeated() -> None:
    read = document(problem(InputError([Problem(("\ud800",), "unknown field")])))
    assert read["errors"] == [{"loc": ["\ud800"], "msg": "unknown field"}]


def test_the_name_of_the_request_is_in_its_problem() -> None:
    before = current_request_id.set("mine")
    try:
        assert json.loads(problem(NoSitesError("no")).body)["request_id"] == "mine"
    finally:
        current_request_id.reset(before)


def test_retry_after_is_what_the_error_says() -> None:
    assert problem(errors.RateError("no", retry_after_s=7)).headers["retry-after"] == "7"
