"""The command line that the report modules share: read one `results.json`, do something with it, report errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from thinned.loadtest.sweep.results_document import read_results

__all__ = ["run_on_results"]


def run_on_results(
    module: str, description: str, action: Callable[[dict[str, Any], Path], None], given: Sequence[str] | None
) -> int:
    """Run `python -m MODULE DIR/results.json`.

    Args:
        module: Name of the module, for the help.
        description: What the command does, for the help.
        action: Called with the results and the path of their file.
        given: Arguments; None for those of this process.

    Returns:
        The exit status: 0, or 2 if the file holds no results, which stderr says.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("results", type=Path, metavar="DIR/results.json")
    path: Path = parser.parse_args(given).results
    try:
        action(read_results(path), path)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
