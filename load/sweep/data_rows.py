"""Rows of real data for the load: of a file, or of the held-out data of an example.

A process of its own reads them (`python -m thinned.loadtest.sweep.data_rows`), since what reads them may not meet
Locust's sockets.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinned.loadtest.request_bodies import Rows, draw_inputs
from thinned.loadtest.service_process import python_path

__all__ = ["RowsError", "gather", "main"]

AT_MOST = 256
_EXAMPLES = ("digits", "diabetes")
_FOUND, _NONE = 0, 3


class RowsError(RuntimeError):
    """The file holds no rows for the model; the text says why."""


def gather(card: Mapping[str, Any], file: Path | None, *, seed: int) -> Rows:
    """Rows for a model: those of `file`; else those that an example was tested with; else random ones.

    Raises:
        RowsError: The file cannot be used.
    """
    if file is None and card["name"] not in _EXAMPLES:
        return _at_random(card, seed)
    command = [sys.executable, "-P", "-m", "thinned.loadtest.sweep.data_rows", *([str(file)] if file else [])]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run(command, input=json.dumps(card), env=environment, capture_output=True, text=True, check=False)
    if done.returncode == _FOUND:
        found = json.loads(done.stdout)
        return Rows(found["by_input"], found["origin"])
    if file is not None or done.returncode != _NONE:
        raise RowsError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the rows could not be read")
    return _at_random(card, seed)


def _at_random(card: Mapping[str, Any], seed: int) -> Rows:
    drawn = draw_inputs(card, 64, random.Random(seed))
    by_input = drawn if isinstance(drawn, dict) else {card["inputs"][0]["name"]: drawn}
    return Rows(by_input, "random numbers; name a file of real rows with --data")


def _of_example(card: Mapping[str, Any]) -> Rows | None:
    if len(card["inputs"]) != 1 or card["name"] not in _EXAMPLES:
        return None
    from thinned.models.examples import diabetes, digits

    data = (digits if card["name"] == digits.NAME else diabetes).data().x_test
    if list(data.shape[1:]) != card["inputs"][0]["shape"]:
        return None
    # Short in JSON; the model's own numbers to four digits.
    rows = data[:AT_MOST].round(4).astype(float).tolist()
    return Rows({card["inputs"][0]["name"]: _shortened(rows)}, f"held-out rows of the example {card['name']}")


def _shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [_shortened(one) for one in value]
    return int(value) if float(value).is_integer() else round(value, 4)


def _of_file(card: Mapping[str, Any], path: Path) -> Rows:
    from thinned.models.card import InputSpec
    from thinned.service.cli.data_files import read_inputs
    from thinned.service.schema.input_arrays import check_inputs

    specs = [InputSpec.model_validate(spec) for spec in card["inputs"]]
    checked = check_inputs(read_inputs(path, specs), specs, max_rows=None)
    return Rows({name: array[:AT_MOST].tolist() for name, array in checked.items()}, f"rows of {path.name}")


def main(given: Sequence[str] | None = None) -> int:
    """Reads a card on stdin and prints the rows; 3 when there are none."""
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.sweep.data_rows", description="Rows for a card given on stdin."
    )
    parser.add_argument("file", nargs="?", type=Path)
    path = parser.parse_args(given).file
    card = json.load(sys.stdin)
    from thinned.models.errors import ThinnedError

    try:
        rows = _of_example(card) if path is None else _of_file(card, path)
    except ThinnedError as error:
        print(str(error), file=sys.stderr)
        return 2
    if rows is None:
        return _NONE
    json.dump({"by_input": rows.by_input, "origin": rows.origin}, sys.stdout)
    return _FOUND


if __name__ == "__main__":
    sys.exit(main())
