"""Where a token is asked for, over the whole application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from tests.service.conftest import Served
from thinned.service.app import UncertaintyService, http
from thinned.service.http.tokens import Tokens, new_token
from thinned.service.http.worker import reread_tokens

ROWS = [[0.1, 0.2, 0.3]]


@pytest.fixture
def secured(
    serve: Callable[..., Served], models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Callable[..., httpx.Response]]:
    """Asks the application of a service with tokens; `token` and `slow` are its tokens, the second with a rate."""

    def make(**settings: Any) -> Callable[..., httpx.Response]:
        path = tmp_path / "tokens"
        (token, line), (slow, slow_line) = new_token("fast"), new_token("slow", 40.0)
        path.write_text(f"{line}\n{slow_line}\n")
        served = serve(models["classes"], tokens=path, **settings)
        monkeypatch.setattr(http.state, "models", served.models, raising=False)
        monkeypatch.setattr(http.state, "tokens", Tokens(path), raising=False)
        known = {"token": token, "slow": slow}

        def ask(method: str, where: str, who: str | None = None, **request: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {known.get(who, who)}"} if who is not None else {}
            return served.ask_of(UncertaintyService.to_asgi(), method, where, headers=headers, **request)

        return ask

    return make


def test_health_is_open_and_all_else_asks_for_a_token(secured: Any) -> None:
    ask = secured()
    for path in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"):
        assert ask("GET", path).status_code == 200
    closed = ["/", "/docs.json", "/openapi.json", "/metrics", "/model", "/static_content/swagger-ui.css"]
    for path in closed:
        refused = [ask("GET", path), ask("GET", path, "wrong")]
        assert {answer.status_code for answer in refused} == {401}
        assert {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}
        assert len({answer.json()["detail"] for answer in refused}) == 1
        assert ask("GET", path, "token").status_code == 200
    for path in ("/ui", "/ui/main.js", "/ui/style.css"):
        assert ask("GET", path).status_code == 200
    assert ask("GET", "/ui/nope").status_code == 404
    assert ask("GET", "/uix").status_code == 404
    assert ask("POST", "/predict", json={"inputs": ROWS}).status_code == 401
    assert ask("POST", "/predict", "token", json={"inputs": ROWS}).status_code == 200
    assert 'reason="token"} 13.0' in ask("GET", "/metrics", "token").text
    for path in ("/v2", "/v2/models/x", "/v2/models/x/ready", "/v2/nothing"):
        assert list(ask("GET", path).json()) == ["error"]
    assert ask("GET", "/v2").status_code == 401
    assert ask("GET", "/v2", "token").status_code == 200


def test_metrics_and_documents_can_be_left_open(secured: Any) -> None:
    ask = secured(open_metrics=True, open_docs=True)
    for path in ("/", "/docs.json", "/openapi.json", "/metrics", "/static_content/swagger-ui.css"):
        assert ask("GET", path).status_code == 200
    assert ask("GET", "/model").status_code == 401


def test_a_path_that_is_not_there_needs_no_token(secured: Any) -> None:
    ask = secured()
    assert ask("GET", "/static_content/../model").status_code in (401, 404)
    assert ask("GET", "/nope").status_code == 404


def test_over_the_rate_is_429_and_only_for_that_token(secured: Any) -> None:
    ask = secured()
    body = {"inputs": ROWS, "n_samples": 200}
    assert ask("POST", "/predict_mc", "slow", json=body).status_code == 200
    answer = ask("POST", "/predict_mc", "slow", json=body)
    assert (answer.status_code, answer.json()["title"]) == (429, "The token's rate is used up")
    assert int(answer.headers["retry-after"]) == 4
    assert ask("POST", "/predict", "slow", json={"inputs": ROWS}).status_code == 429
    assert ask("POST", "/predict_mc", "token", json=body).status_code == 200
    assert 'reason="rate"} 2.0' in ask("GET", "/metrics", "slow").text


def test_passes_that_a_tolerance_spares_are_given_back(secured: Any) -> None:
    ask = secured()
    body = {"inputs": ROWS, "n_samples": 1000, "tolerance": 0.5}
    for _ in range(2):
        assert ask("POST", "/predict_mc", "slow", json=body).status_code == (200 if _ == 0 else 429)
    assert int(ask("POST", "/predict_mc", "slow", json=body).headers["retry-after"]) <= 3


def test_the_document_says_where_a_token_is_needed(secured: Any) -> None:
    document = secured()("GET", "/openapi.json", "token").json()
    validate(document)
    needs = {path for path, methods in document["paths"].items() for o in methods.values() if "security" in o}
    documents = {"/model", "/models", "/docs.json", "/openapi.json", "/schema.json", "/metrics"}
    named = {"/models/{name}/comparison"}
    assert needs == {"/predict", "/predict_mc", "/predict_mc/stream", "/admin/reload"} | documents | named
    assert all("401" in o["responses"] for path in needs for o in document["paths"][path].values())


def test_a_bad_file_at_sighup_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    path.write_text(new_token("a")[1])
    tokens = Tokens(path)
    path.write_text("nonsense")
    reread_tokens(tokens)
    assert "the tokens stay as they were" in caplog.text
    reread_tokens(None)
