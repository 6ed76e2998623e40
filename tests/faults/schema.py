"""Schemathesis against the service's own OpenAPI document: everything that it may send, and what it may not.

It runs from an environment of its own (`make faults` makes it in .faults), because its dependencies are not the locked
ones: `SCHEMATHESIS` names another command.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.figures import Figure, Options, at_least
from tests.serving import ROOT, start_service

__all__ = ["schema"]

COMMAND = "SCHEMATHESIS"
DEFAULT = ROOT / ".faults" / "bin" / "st"
# What a client may send at most is kept small here, so that cases are many rather than large.
SMALL = {"THINNED_MAX_ROWS": "4", "THINNED_MAX_SAMPLES": "40"}


# What the service answers to a right request that it cannot serve in this time, or whose answer is not finite.
CONFIGURATION = """[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "502", "503", "504"]
"""


def schema(options: Options) -> Iterator[Figure]:
    """Schemathesis: all checks and phases, of a model with one input and of one with two."""
    command = Path(os.environ.get(COMMAND, DEFAULT))
    if not command.exists():
        yield Figure("schemathesis", f"there is no {command}; run make faults", "", False)
        return
    examples = 20 if options.short else max(1, options.cases // 4)
    total = 0
    for model in ("small", "mixed"):
        with start_service(model, SMALL) as service, tempfile.TemporaryDirectory() as folder:
            configuration = Path(folder) / "schemathesis.toml"
            configuration.write_text(CONFIGURATION)
            arguments = ["--config-file", configuration, "run", f"{service.url}/openapi.json", "--checks", "all"]
            arguments += ["--max-examples", str(examples), "--seed", "1", "--no-color", "--warnings", "off"]
            # JSON Schema cannot say that all inputs have as many rows, and all rows one length.
            arguments += ["--exclude-checks", "positive_data_acceptance"] if model == "mixed" else []
            arguments += ["--continue-on-failure", "--request-timeout", "30"]
            done = subprocess.run(
                [command, *arguments], capture_output=True, text=True, timeout=7200, check=False, cwd=folder
            )
            log = service.log()
        print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
        cases = re.search(r"([\d,]+) generated", done.stdout)
        count = int(cases[1].replace(",", "")) if cases else 0
        total += count
        what = f"schemathesis, all checks, model {model}, {count:,} cases: exit status"
        yield Figure(what, str(done.returncode), "0", done.returncode == 0)
        yield Figure("a traceback in the log", str("Traceback" in log), "False", "Traceback" not in log)
    yield at_least("cases of both together", total, 1 if options.short else options.cases)
