"""The file of tokens, whose token a request has, and how much its owner may ask for."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from tests.serving import run_cli
from thinned.models.errors import RateError, SettingsError, TokenError
from thinned.service.http import tokens as module
from thinned.service.http.tokens import Caller, Tokens, charge, current_caller, new_token

DIGEST = hashlib.sha256(b"secret").hexdigest()


def written(folder: Path, text: str) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    return path


def test_a_new_token_is_known_by_its_line_alone(tmp_path: Path) -> None:
    (one, line), (other, other_line) = new_token("a"), new_token("b", 12.5)
    assert one != other
    assert len(one) >= 43
    assert one not in line
    tokens = Tokens(written(tmp_path, f"# who may\n\n{line}\n{other_line}\n"))
    callers = [tokens.caller_of([(b"authorization", f"Bearer {token}".encode())]) for token in (one, other)]
    assert [(caller.name, caller.rate) for caller in callers] == [("a", None), ("b", 12.5)]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"secret")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic secret")],
        [(b"authorization", b"Bearer Secret")],
        [(b"authorization", b"Bearer secret2")],
        [(b"authorization", b"Bearer \xff\x00")],
        [(b"authorization", b"Bearer " + DIGEST.encode())],
        [(b"authorization", b"Bearer secret")] * 2,
        [(b"cookie", b"Bearer secret")],
    ],
)
def test_all_else_is_refused_in_the_same_words(headers: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path, f"a {DIGEST}"))
    assert tokens.caller_of([(b"authorization", b"bearer secret")]).name == "a"
    with pytest.raises(TokenError, match=r"^expected the header authorization: Bearer TOKEN, with a token of this"):
        tokens.caller_of(headers)


def test_every_line_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    class Watched:
        @staticmethod
        def compare_digest(a: bytes, b: bytes) -> bool:
            compared.append((a, b))
            return hmac.compare_digest(a, b)

    monkeypatch.setattr(module, "hmac", Watched)
    others = "\n".join(f"n{i} {hashlib.sha256(bytes([i])).hexdigest()}" for i in range(3))
    tokens = Tokens(written(tmp_path, f"a {DIGEST}\n{others}"))
    tokens.caller_of([(b"authorization", b"Bearer secret")])
    assert len(compared) == 4
    assert {len(part) for pair in compared for part in pair} == {32}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no token"),
        ("# a\n", "holds no token"),
        ("a secret", "line 1: expected a name and the SHA-256"),
        ("a", "line 1: expected a name and the SHA-256"),
        (f"\na{'é'} {DIGEST}", "line 2: expected a name of 1 to 64"),
        (f"a {DIGEST.upper()}", "64 hexadecimal digits"),
        (f"a {DIGEST} 0", "a rate above 0"),
        (f"a {DIGEST} nan", "a rate above 0"),
        (f"a {DIGEST} inf", "a rate above 0"),
        (f"a {DIGEST} fast", "a rate above 0"),
        (f"a {DIGEST} 1 2", "a rate above 0"),
        (f"a {DIGEST}\na {DIGEST} 1", "names 'a' twice"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_repeats_no_secret(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        Tokens(written(tmp_path, text))
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Tokens(tmp_path / "nowhere")


def test_reading_again_keeps_what_was_asked_for_and_survives_a_bad_file(tmp_path: Path) -> None:
    path = written(tmp_path, f"a {DIGEST} 10")
    tokens = Tokens(path)
    header = [(b"authorization", b"Bearer secret")]
    tokens.caller_of(header).charge(1000)
    written(tmp_path, f"renamed {hashlib.sha256(b'new').hexdigest()}\na {DIGEST} 10")
    tokens.reread()
    assert tokens.caller_of([(b"authorization", b"Bearer new")]).name == "renamed"
    with pytest.raises(RateError):
        tokens.caller_of(header).charge(1)
    written(tmp_path, "nonsense")
    with pytest.raises(SettingsError):
        tokens.reread()
    assert tokens.caller_of(header).name == "a"
    written(tmp_path, f"b {hashlib.sha256(b'new').hexdigest()}")
    tokens.reread()
    with pytest.raises(TokenError):
        tokens.caller_of(header)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [1, 7, 40, 1000])
def test_what_is_let_in_keeps_the_rate(cost: int) -> None:
    clock = Clock()
    caller = Caller("a", b"", 10.0, clock=clock)
    let_in = 0
    for _ in range(4000):
        clock.now += 0.25
        try:
            caller.charge(cost)
        except RateError:
            continue
        let_in += cost
    # One second's worth and one request beyond the rate at the most; and not less than the rate allows.
    assert 10 * 1000 - cost <= let_in <= 10 * 1001 + cost or cost / 0.25 < 10


def test_retry_after_is_when_it_is_let_in() -> None:
    clock = Clock()
    caller = Caller("a", b"", 10.0, clock=clock)
    caller.charge(75)
    with pytest.raises(RateError) as raised:
        caller.charge(1)
    assert raised.value.retry_after_s == 7
    clock.now += 7
    caller.charge(1)


def test_what_was_not_used_is_given_back_and_never_more() -> None:
    clock = Clock()
    caller = Caller("a", b"", 10.0, clock=clock)
    caller.charge(75)
    caller.charge(-70)
    caller.charge(5)
    caller.charge(-1000)
    caller.charge(11)
    with pytest.raises(RateError):
        caller.charge(1)


def test_nobody_is_charged_where_there_are_no_tokens() -> None:
    assert current_caller.get() is None
    charge(10**9)
    Caller("a", b"").charge(10**9)


def test_the_command_makes_a_token_and_adds_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    printed = run_cli("token", "alice", "--rate", "50", "--file", str(path)).stdout
    token = printed.removeprefix("token: ").strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert token not in path.read_text()
    caller = Tokens(path).caller_of([(b"authorization", f"Bearer {token}".encode())])
    assert (caller.name, caller.rate) == ("alice", 50.0)
    both = run_cli("token", "bob").stdout.splitlines()
    assert both[1].split()[:2] == ["line:", "bob"]
    assert run_cli("token", "a b", check=False).returncode == 2
