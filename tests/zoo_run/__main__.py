"""`python -m tests.zoo_run`: run the zoo, keep the results as JSON, write the table of docs/models.md.

Results of earlier runs in the same file stay, so that a run may be made in parts: `--only applications --only idioms/`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "zoo-results.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for. The exit status is 1 where a model is wrong, or ended in a traceback."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo_run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="run members whose name begins so; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="members at a time")
    parser.add_argument("--new", action="store_true", help="only members that have no result yet")
    parser.add_argument("--forked", action="store_true", help="fork the command after its imports: half the time")
    parser.add_argument("--list", action="store_true", help="print the members and end")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results are kept")
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/models.md from the results")
    asked = parser.parse_args(arguments)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    home = Path(tempfile.mkdtemp(prefix="thinned-zoo-"))
    os.environ["BENTOML_HOME"] = str(home / "bentoml")
    try:
        return _run(asked, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(asked: Any, home: Path) -> int:
    from tests.zoo_run.document import write
    from tests.zoo_run.members import members

    kept = json.loads(asked.results.read_text())["members"] if asked.results.exists() else {}
    chosen = [m for m in members().values() if not asked.only or m.name.startswith(tuple(asked.only))]
    if asked.new:
        chosen = [m for m in chosen if m.name not in kept]
    if asked.list:
        print("\n".join(member.name for member in chosen))
        return 0
    if not (asked.write_docs and not asked.only and not asked.new and kept):
        _run_members(chosen, home, asked, kept)
    if asked.write_docs:
        write(ROOT / "docs" / "models.md", json.loads(asked.results.read_text()))
    return int(any(kept[m.name]["verdict"] in ("wrong", "traceback", "not made") for m in chosen if m.name in kept))


def _run_members(chosen: Sequence[Any], home: Path, asked: Any, kept: dict[str, Any]) -> None:
    from tests.zoo_run.one_member import as_command, as_fork, preload, run_member

    preload()
    lock = Lock()

    def one(member: Any) -> None:
        record = run_member(member, home, as_fork if asked.forked else as_command)
        with lock:
            kept[member.name] = record
            asked.results.write_text(json.dumps({**_origin(), "members": kept}, indent=1))
            text = " ".join(record["text"].split())[-300:]
            print(f"{record['verdict']:>15} {record['seconds']:6.1f} s  {member.name}  {text}", flush=True)

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(one, chosen))


def _origin() -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "bentoml")}
    return {"date": datetime.date.today().isoformat(), "versions": versions, "python": sys.version.split()[0]}


if __name__ == "__main__":
    sys.exit(main())
