"""Rows that the load sends: from a file, from the held-out data of an example, or random.

`python -m thinned.loadtest.sweep.data_rows` reads them in a process of its own, because Locust has replaced the sockets
of the sweep's process and scikit-learn and the readers of data files are not to run with those.
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

from thinned.loadtest.request_bodies import InputRows, draw_inputs
from thinned.loadtest.service_process import python_path

__all__ = ["RowsError", "load_rows", "main"]

MAX_ROWS = 256
_EXAMPLES = ("digits", "diabetes")
_RANDOM_ROWS = 64
_FOUND, _REFUSED, _NONE = 0, 2, 3


class RowsError(RuntimeError):
    """The file holds no rows for the model; the message says why."""


def load_rows(card: Mapping[str, Any], file: Path | None, *, seed: int) -> InputRows:
    """Rows for a model: those of `file`; without one, held-out rows of the example that it is, else random rows.

    Args:
        card: The model's card, as `/model` answers it.
        file: A file of inputs: .npy, .npz, .csv or .json.
        seed: Of random rows.

    Raises:
        RowsError: The file cannot be read, or does not fit the model.
    """
    if file is None and card["name"] not in _EXAMPLES:
        return _random_rows(card, seed)
    command = [sys.executable, "-P", "-m", "thinned.loadtest.sweep.data_rows", *([str(file)] if file else [])]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run(command, input=json.dumps(card), env=environment, capture_output=True, text=True, check=False)
    if done.returncode == _FOUND:
        found = json.loads(done.stdout)
        sys.stderr.write("".join(line for line in done.stderr.splitlines(True) if line.startswith("thinned: ")))
        return InputRows(found["by_input"], found["origin"])
    if file is not None or done.returncode != _NONE:
        raise RowsError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the rows could not be read")
    return _random_rows(card, seed)


def _random_rows(card: Mapping[str, Any], seed: int) -> InputRows:
    drawn = draw_inputs(card, _RANDOM_ROWS, random.Random(seed))
    by_input = drawn if isinstance(drawn, dict) else {card["inputs"][0]["name"]: drawn}
    return InputRows(by_input, "random numbers; name a file of real rows with --data")


def _example_rows(card: Mapping[str, Any]) -> InputRows | None:
    """Held-out rows of an example; None if the model is none, or takes inputs of another shape."""
    if len(card["inputs"]) != 1 or card["name"] not in _EXAMPLES:
        return None
    from thinned.models.examples import diabetes, digits

    data = (digits if card["name"] == digits.NAME else diabetes).data().x_test
    if list(data.shape[1:]) != card["inputs"][0]["shape"]:
        return None
    # Four decimals keep the request bodies short.
    rows = data[:MAX_ROWS].round(4).astype(float).tolist()
    return InputRows({card["inputs"][0]["name"]: _shortened(rows)}, f"held-out rows of the example {card['name']}")


def _shortened(value: Any) -> Any:
    """Nested lists with the shortest JSON form of each number: whole numbers as integers, others with 4 decimals."""
    if isinstance(value, list):
        return [_shortened(one) for one in value]
    return int(value) if float(value).is_integer() else round(value, 4)


def _file_rows(card: Mapping[str, Any], path: Path) -> InputRows:
    """Rows of a file, checked against the model's inputs."""
    from thinned.models.card import InputSpec
    from thinned.service.cli.data_files import read_rows

    checked = read_rows(path, [InputSpec.model_validate(spec) for spec in card["inputs"]])
    return InputRows({name: array[:MAX_ROWS].tolist() for name, array in checked.items()}, f"rows of {path.name}")


def main(given: Sequence[str] | None = None) -> int:
    """Read a card from stdin and print rows for it as JSON.

    Returns:
        0 if rows were printed, 2 if the file was refused, 3 if there are no rows.
    """
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.sweep.data_rows", description="Print rows for the model's card on stdin."
    )
    parser.add_argument("file", nargs="?", type=Path, help="a file of inputs; default: held-out rows of the example")
    path = parser.parse_args(given).file
    card = json.load(sys.stdin)
    from thinned.models.errors import ThinnedError

    try:
        rows = _example_rows(card) if path is None else _file_rows(card, path)
    except ThinnedError as error:
        print(str(error), file=sys.stderr)
        return _REFUSED
    if rows is None:
        return _NONE
    json.dump({"by_input": rows.by_input, "origin": rows.origin}, sys.stdout)
    return _FOUND


if __name__ == "__main__":
    sys.exit(main())
