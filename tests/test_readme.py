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

import numpy as np
import pytest

from tests.serving import ROOT, Service
from thinned.loadtest.service_process import free_port, serving

README = (ROOT / "README.md").read_text()
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
    following = [*found[1:], ("", "")] if found else []
    return [
        Block(language, body, after[1] if after[0] == "json" else None)
        for (language, body), after in zip(found, following, strict=True)
    ]


SHELL = [block for block in blocks(README) if block.language == "bash"]


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


def path_with_thinned(folder: Path) -> str:
    """A PATH that starts with a folder, made in `folder`, that holds this Python and its `thinned` command."""
    bin = folder / "bin"
    bin.mkdir()
    python, root = shlex.quote(sys.executable), shlex.quote(str(ROOT))
    for name, command in {"python": python, "thinned": f"{python} -m thinned"}.items():
        (bin / name).write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {command} "$@"\n')
        (bin / name).chmod(0o755)
    return f"{bin}:{os.environ['PATH']}"


@pytest.fixture
def person(tmp_path: Path) -> tuple[Path, str]:
    """A folder with the files that the README speaks of, and a PATH with the `thinned` command of this Python."""
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")]
    )
    model.save(tmp_path / "my_model.keras")
    np.save(tmp_path / "rows.npy", np.ones((3, 4), "float32"))
    return tmp_path, path_with_thinned(tmp_path)


def test_the_first_block_is_the_two_commands() -> None:
    assert lines("make") == ["make serve", "make test"]
    assert SHELL[0].text.startswith("make serve")


def test_the_first_answer_stands_at_the_top() -> None:
    """The second block asks `/predict_mc`, and its answer follows within the first screen."""
    assert "/predict_mc" in SHELL[1].text
    assert SHELL[1].answer is not None
    assert README[: README.index("```json")].count("\n") < 20
    assert README.count("\n") <= 130


def test_every_shell_line_is_run_by_some_test() -> None:
    for block in SHELL:
        words = {line.split(" ")[0] for line in block.text.splitlines()}
        assert words <= {"make", "curl", "thinned"}, block.text


def is_shown_network(service: Service) -> bool:
    with urllib.request.urlopen(f"{service.url}/model", timeout=10) as answer:
        scores = json.load(answer)["scores"]
    return all(math.isclose(scores[name], score, rel_tol=1e-6) for name, score in SHOWN_NETWORK.items())


@pytest.mark.parametrize("block", [block for block in SHELL if block.text.startswith("curl")])
def test_curl_answers_as_shown(block: Block, service: Service) -> None:
    assert "http://127.0.0.1:3000/" in block.text
    assert block.answer is not None, "a call in the README is followed by its answer"
    received = json.loads(bash(block.text.replace(":3000", f":{service.port}"), ROOT))
    tolerance = TOLERANCE if is_shown_network(service) else math.inf
    assert list(differences(json.loads(block.answer), received, tolerance)) == []


def test_thinned_commands_run(digits: str, person: tuple[Path, str]) -> None:
    folder, path = person
    for line in lines("thinned"):
        if line.startswith(("thinned load", "thinned compare")):
            continue  # They take minutes: tests/load/sweep/test_sweep.py runs shorter ones.
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
