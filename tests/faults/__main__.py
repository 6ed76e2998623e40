"""`python -m tests.faults`: run the trials, print a line for each figure, keep all of them as JSON.

The exit status is 1 where a bar was not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "faults-results.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a trial by its name; may be repeated")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--soak-minutes", type=float, default=30.0)
    parser.add_argument("--cases", type=int, default=10_000, help="cases of schemathesis, at least")
    parser.add_argument("--list", action="store_true", help="print the trials and end")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    asked = parser.parse_args(arguments)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    home = tempfile.mkdtemp(prefix="thinned-faults-")
    os.environ["BENTOML_HOME"] = home
    try:
        return _run(asked, parser)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(asked: Any, parser: argparse.ArgumentParser) -> int:
    from tests.faults.figures import Options
    from tests.faults.models import make_models
    from tests.faults.trials import TRIALS
    from thinned.loadtest.machine import describe_run

    unknown = [name for name in asked.only if name not in TRIALS]
    if unknown:
        parser.error(f"there is no trial {', '.join(unknown)}; there are {', '.join(TRIALS)}")
    if asked.list:
        print("\n".join(f"{name}: {trial.__doc__}" for name, trial in TRIALS.items()))
        return 0
    options = Options(short=asked.short, soak_minutes=asked.soak_minutes, cases=asked.cases)
    make_models()
    kept = json.loads(asked.results.read_text()) if asked.results.exists() else {}
    held = True
    for name in asked.only or TRIALS:
        figures = []
        for figure in TRIALS[name](options):
            figures.append(figure._asdict())
            held = held and figure.held
            print(
                f"{'ok' if figure.held else 'NO':>2}  {name}: {figure.what}: {figure.measured} ({figure.bar})",
                flush=True,
            )
        kept[name] = {**describe_run(), "short": asked.short, "figures": figures}
        asked.results.write_text(json.dumps(kept, indent=1))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
