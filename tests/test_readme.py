"""The README's shell and JSON blocks, run against a really running service."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.serving import ROOT, Service
from thinned.loadtest.service_process import free_port, serving

README = (ROOT / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TOLERANCE = 1e-4
# The network whose answers the README shows, known by a score on its card. A processor that rounds otherwise trains
# another network, as good: there the answers are held to the README's form only.
SHOWN_NETWORK = {"nll_deterministic": 0.0173561774}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the JSON block right after it, if there is one."""

    language: str
    text: str
    answer: str | None


def blocks(text: str) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    following = [*found[1:], ("", "")]
    return [
        Block(language, body, after[1] if after[0] == "json" else None)
        for (language, body), after in zip(found, following, strict=True)
    ]


SHELL = [block for block in blocks(README) if block.language == "bash"]
ASSIGNMENTS = "".join(block.text for block in SHELL if re.match(r"[A-Z]+=", block.text))


def lines(word: str) -> list[str]:
    """Command lines of the README that start with a word, without their comments."""
    found = [line.split("  #")[0].strip() for block in SHELL for line in block.text.splitlines()]
    return [line for line in found if line.split(" ")[0] == word]


def differences(expected: Any, received: Any, tolerance: float, where: str = "$") -> Iterator[str]:
    """Where two JSON values differ in keys, lengths, types or texts, and in numbers by more than the tolerance."""
    if isinstance(expected, dict) and isinstance(received, dict):
        if list(expected) != list(received):
            yield f"{where}: keys {list(expected)} in the README, {list(received)} received"
        for key in expected.keys() & received.keys() - {"version"}:
            yield from differences(expected[key], received[key], tolerance, f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(received, list):
        if len(expected) != len(received):
            yield f"{where}: {len(expected)} in the README, {len(received)} received"
        for i, (one, other) in enumerate(zip(expected, received, strict=False)):
            yield from differences(one, other, tolerance, f"{where}[{i}]")
    elif isinstance(expected, float) and isinstance(received, int | float):
        if not math.isclose(expected, received, rel_tol=0, abs_tol=tolerance):
            yield f"{where}: {expected} in the README, {received} received"
    elif expected != received:
        yield f"{where}: {expected!r} in the README, {received!r} received"


def bash(script: str, cwd: Path, path: str | None = None) -> str:
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{script}\nexited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def person(tmp_path: Path) -> tuple[Path, str]:
    """A folder with the files that the README speaks of, and a PATH with the `thinned` command of this Python."""
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")]
    )
    model.save(tmp_path / "my_model.keras")
    command = tmp_path / "bin" / "thinned"
    command.parent.mkdir()
    python, root = shlex.quote(sys.executable), shlex.quote(str(ROOT))
    command.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {python} -m thinned.service.cli.main "$@"\n')
    command.chmod(0o755)
    return tmp_path, f"{command.parent}:{os.environ['PATH']}"


def test_the_first_block_is_the_two_commands() -> None:
    assert lines("make") == ["make serve", "make test"]
    assert SHELL[0].text.startswith("make serve")


def test_make_targets_are_real() -> None:
    named = {*(line.split()[1] for line in lines("make")), *re.findall(r"`make (\w+)`", README)}
    assert named <= TARGETS


def test_every_shell_line_is_run_by_some_test() -> None:
    for block in SHELL:
        if not ASSIGNMENTS or block.text not in ASSIGNMENTS:
            words = {line.split(" ")[0] for line in block.text.splitlines()}
            assert words <= {"make", "curl", "thinned", "locust"}, block.text


def is_shown_network(service: Service) -> bool:
    with urllib.request.urlopen(f"{service.url}/model", timeout=10) as answer:
        scores = json.load(answer)["scores"]
    return all(math.isclose(scores[name], score, rel_tol=1e-6) for name, score in SHOWN_NETWORK.items())


@pytest.mark.parametrize("block", [block for block in SHELL if block.text.startswith("curl")])
def test_curl_answers_as_shown(block: Block, service: Service, tmp_path: Path) -> None:
    assert "http://127.0.0.1:3000/" in block.text
    assert block.answer is not None, "a call in the README is followed by its answer"
    received = json.loads(bash(ASSIGNMENTS + block.text.replace(":3000", f":{service.port}"), tmp_path))
    tolerance = TOLERANCE if is_shown_network(service) else math.inf
    assert list(differences(json.loads(block.answer), received, tolerance)) == []


def test_thinned_commands_run(digits: str, person: tuple[Path, str]) -> None:
    folder, path = person
    for line in lines("thinned"):
        if line.startswith(("thinned load", "thinned compare")):
            continue  # They take minutes: tests/load/test_sweep.py runs shorter ones, and two Locust workers.
        if line.startswith("thinned serve") and "--show-settings" not in line:
            port = free_port()
            command = ["bash", "-c", f"exec {line} --port {port}"]
            with serving(command, port, {"PATH": path}, cwd=folder) as service:
                calls = re.findall(r"^curl .*$", service.log(), re.MULTILINE)
                assert calls, "a person is told what to try"
                for call in calls:
                    assert "model" in json.loads(bash(call.replace("curl", "curl --fail-with-body", 1), folder))
        else:
            assert bash(line, folder, path)


def test_settings_are_those_of_the_service() -> None:
    from thinned.service.settings import Settings

    defaults = {variable: value for variable, value, _ in Settings().table()}
    shown = dict(re.findall(r"^\| `(THINNED_\w+)` \| `?([^|`]+)`? \|", README, re.MULTILINE))
    assert shown
    assert {name: value.strip() for name, value in shown.items()}.items() <= defaults.items()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ('{"a": [1.0, 2.0]}', []),
        ('{"a": [1.00001, 2.0]}', []),
        ('{"a": [1.001, 2.0]}', ["$.a[0]: 1.0 in the README, 1.001 received"]),
        ('{"a": [1.0]}', ["$.a: 2 in the README, 1 received"]),
        ('{"b": [1.0]}', ["$: keys ['a'] in the README, ['b'] received"]),
        ('{"a": "no"}', ["$.a: [1.0, 2.0] in the README, 'no' received"]),
    ],
)
def test_a_difference_is_found(changed: str, said: list[str]) -> None:
    assert list(differences({"a": [1.0, 2.0]}, json.loads(changed), TOLERANCE)) == said
