"""Schemathesis against the service's own OpenAPI document: everything that it may send, and what it may not.

It runs from an environment of its own (`make faults` makes it in .faults), because its dependencies are not the locked
ones: `SCHEMATHESIS` names another command.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.figures import Figure, Options
from tests.serving import ROOT, start_service

__all__ = ["schema"]

COMMAND = "SCHEMATHESIS"
DEFAULT = ROOT / ".faults" / "bin" / "st"
# What a client may send at most is kept small here, so that cases are many rather than large.
SMALL = {"THINNED_MAX_ROWS": "4", "THINNED_MAX_SAMPLES": "40"}
OPERATIONS = 9


def schema(options: Options) -> Iterator[Figure]:
    """All checks and phases."""
    command = Path(os.environ.get(COMMAND, DEFAULT))
    if not command.exists():
        yield Figure("schemathesis", f"there is no {command}; run make faults", "", False)
        return
    examples = 20 if options.short else options.cases // 4
    with start_service("small", SMALL) as service:
        arguments = ["run", f"{service.url}/openapi.json", "--checks", "all", "--max-examples", str(examples)]
        arguments += ["--phases", "examples,coverage,fuzzing,stateful", "--seed", "1", "--no-color", "--mode", "all"]
        arguments += ["--continue-on-failure", "--request-timeout", "30", "--generation-database", "none"]
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=7200, check=False)
        log = service.log()
    print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
    cases = re.search(r"([\d,]+) (?:test cases )?generated", done.stdout)
    count = int(cases[1].replace(",", "")) if cases else 0
    enough = count >= (1 if options.short else options.cases)
    what = f"schemathesis, all checks, {count:,} cases"
    yield Figure(what, f"exit status {done.returncode}", "0", done.returncode == 0 and enough)
    yield Figure("a traceback in the log", str("Traceback" in log), "False", "Traceback" not in log)
