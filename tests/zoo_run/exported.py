"""`python -m tests.zoo_run.exported`: export every member of the zoo, and hold the laws of passes against the file.

A member is built and exported in a process of its own; its file is called in another, which has imported TensorFlow
and NumPy alone. What is compared there: the plain answer and passes with the engine's, bit for bit where a call
repeats, the first passes of many, a row alone, and the statistics with those of the API. Results of earlier runs in
the same file stay.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tests.zoo_run.__main__ import ROOT, _origin
from tests.zoo_run.members import GROUPS, Member, find, members
from tests.zoo_run.one_member import _process, preload

RESULTS = ROOT / "zoo-export-results.json"
SECONDS = 600.0
FEW, LONGER = 10, 40
BEGIN, END = "<!-- written by make zoo-export: begin -->", "<!-- written by make zoo-export: end -->"
VERDICTS = ("right", "rightly refused", "refused", "wrong", "too slow", "not made")
# It is forked for each file once it has imported TensorFlow, which spares the seconds that this takes.
SERVER = """
import importlib.util, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("bare_process", sys.argv[1])
bare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bare)
__import__(sys.argv[2])
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        bare.answer(Path(line.strip()))
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for. The exit status is 1 where a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo_run.exported", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="members whose name begins so; may be repeated")
    parser.add_argument("--to", choices=("saved-model", "onnx"), default="saved-model", help="the form of the file")
    parser.add_argument("--new", action="store_true", help="only members that have no result yet")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results are kept")
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/export.md, and run nothing")
    asked = parser.parse_args(arguments)
    kept = json.loads(asked.results.read_text())["members"] if asked.results.exists() else {}
    if asked.write_docs:
        path = ROOT / "docs" / "export.md"
        before, after = path.read_text().split(BEGIN)[0], path.read_text().split(END)[1]
        path.write_text(f"{before}{BEGIN}\n\n{table(json.loads(asked.results.read_text()))}\n{END}{after}")
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    preload()
    chosen = [m for m in members().values() if not asked.only or m.name.startswith(tuple(asked.only))]
    server = Server(asked.to)
    for member in chosen:
        if asked.new and member.name in kept:
            continue
        began = time.monotonic()
        record = {"name": member.name, "group": member.group, **_run(member, asked.to, server)}
        kept[member.name] = record | {"seconds": round(time.monotonic() - began, 1)}
        asked.results.write_text(json.dumps({**_origin(), "members": kept}, indent=1))
        text = " ".join(record.get("text", "").split())[-200:]
        print(f"{record['verdict']:>15} {kept[member.name]['seconds']:6.1f} s  {member.name}  {text}", flush=True)
    server.stop()
    return int(any(record["verdict"] == "wrong" for record in kept.values()))


class Server:
    """A process with TensorFlow and NumPy alone that is forked for each file; started anew where it got stuck."""

    def __init__(self, form: str) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.runtime = "tensorflow" if form == "saved-model" else "onnxruntime"

    def answer(self, folder: str) -> int:
        """Have what is in a folder answered; the status of the process that did."""
        from thinned.models.export import bare_process

        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", SERVER, bare_process.__file__, self.runtime],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.stop()
            return 1
        return int(self.process.stdout.readline() or 1)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def _run(member: Member, form: str, server: Server) -> dict[str, Any]:
    """The verdict on one member."""
    try:
        with _process(export_member, member.name, form) as child:
            while child.poll(SECONDS):
                said = child.recv()
                if isinstance(said, str):
                    return {"verdict": "not made", "text": said[-2000:]}
                if "folder" not in said:
                    return dict(said)
                child.send(server.answer(said["folder"]))
            return {"verdict": "too slow", "text": f"it took more than {SECONDS:.0f} s"}
    except EOFError:
        return {"verdict": "not made", "text": "the process ended without an answer"}


def export_member(connection: Connection, name: str, form: str) -> None:
    """Build a member, export it and compare; the verdict goes through the pipe."""
    from thinned.models.errors import ExportError, ThinnedError

    member = find(name)
    try:
        connection.send(_exported(member, form, connection))
    except ExportError as error:
        connection.send({"verdict": "rightly refused" if member.refused else "refused", "text": str(error)})
    except ThinnedError as error:
        # The import refuses it too: there is nothing in the store to export.
        connection.send({"verdict": "rightly refused", "text": str(error)})


def _exported(member: Member, form: str, connection: Connection) -> dict[str, Any]:
    import keras

    from tests.zoo_run.keras_side import SEED, describe
    from thinned.models.card import OutputSpec
    from thinned.models.dropout import check_rows, enable_mc_dropout
    from thinned.models.errors import ExportError
    from thinned.models.export.onnx_files import ONNX_PASSES, write_onnx
    from thinned.models.export.proving import call_bare
    from thinned.models.export.saved_model import write_saved_model
    from thinned.models.export.signatures import PASSES, ExportedFunctions
    from thinned.service.cli.options import input_specs

    keras.utils.set_random_seed(SEED)
    keras_model = member.build()
    for variable in keras_model.variables:
        if "moving" in variable.path and np.unique(variable.numpy()).size == 1:
            variable.assign(variable + 0.1)
    shapes = [value for value in member.options if not value.startswith("--")]
    specs = input_specs(shapes, []) if shapes else None
    classes = describe(keras_model, keras)["task"] == "classification"
    model = enable_mc_dropout(keras_model, input_specs=specs)
    scales = {output.name: "probabilities" for output in model.outputs} if classes else {}
    model = enable_mc_dropout(keras_model, input_specs=specs, classes=scales) if classes else model  # type: ignore[arg-type]
    check_rows(model)
    outputs = [
        OutputSpec(
            name=output.name,
            shape=output.shape,
            dtype=output.dtype,
            task="classification" if classes else "regression",
            scale="probabilities" if classes else "values",
        )
        for output in model.outputs
    ]
    functions = ExportedFunctions(model, outputs)

    def run(folder: Path) -> None:
        connection.send({"folder": str(folder)})
        if connection.recv():
            raise ExportError("a process with the runtime alone ended without an answer")

    with tempfile.TemporaryDirectory(prefix="thinned-zoo-export-") as home:
        folder = Path(home) / "saved_model"
        if form == "onnx":
            write_onnx(functions, folder)
        else:
            write_saved_model(functions.traced(), keras_model, folder)
        passes = ONNX_PASSES if form == "onnx" else PASSES
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return {"bytes": size, **_compared(functions, folder, passes, lambda calls: call_bare(calls, run))}


def _compared(functions: Any, folder: Path, passes: str, call: Any) -> dict[str, Any]:
    from thinned.models.errors import ExportError
    from thinned.models.export.proving import MANY, SEED, BareCall, allowed_error, engine_answers, gap, least_scale
    from thinned.models.export.signatures import PREDICT, SAMPLE

    model = functions.model
    rows = model.examples.rows(3)
    flat = dict(zip(functions.keys.values(), model.flat(rows), strict=True))
    one = {key: x[1:2] for key, x in flat.items()}
    calls = [BareCall(folder, PREDICT, flat, {})]
    if model.sites:
        calls += [BareCall(folder, SAMPLE, flat, {"n_samples": n, "seed": SEED}) for n in (FEW, FEW, LONGER)]
        calls += [BareCall(folder, SAMPLE, one, {"n_samples": FEW, "seed": SEED})]
        calls += [BareCall(folder, passes, flat, {"n_samples": MANY, "seed": SEED})]
    bare = call(calls)
    for place, text in bare.refused.items():
        raise ExportError(f"the runtime alone refuses the signature {calls[place].signature!r}: {text[:400]}")
    plain = bare.answers[0]
    errors = {"plain": _worst(model.predict(rows), plain)}
    if not any(site.forced for site in model.sites):
        own, again = model.reference(rows), model.reference(rows)
        if _worst(own, again) == 0 and _worst(own, model.predict(rows)) <= allowed_error(model):
            errors["plain, Keras's own"] = _worst(own, plain)
    if model.sites:
        few, repeated, longer, alone, moments = bare.answers[1:]
        errors["passes"] = _worst(model.sample(rows, n_samples=FEW, seed=SEED), few)
        errors["same seed"] = (
            0.0 if all(np.array_equal(x, repeated[k], equal_nan=True) for k, x in few.items()) else 1.0
        )
        errors["first of many"] = _worst(few, {key: x[:FEW] for key, x in longer.items()})
        scale = {key: max(float(np.abs(x).max(initial=0.0)), 1e-30) for key, x in few.items()}
        errors["row alone"] = max(
            float(np.abs(x[:, 1:2].astype(np.float64) - alone[key]).max(initial=0.0)) / scale[key]
            for key, x in few.items()
        )
        told = engine_answers(functions, rows)
        for key, x in told.items():
            field = key.rpartition("/")[2]
            errors[field] = max(errors.get(field, 0.0), gap(x, moments.get(key), least=least_scale(field)))
    allowed = allowed_error(model)
    wrong = [f"{name} off by {error:.2g}" for name, error in errors.items() if not error <= allowed]
    return {
        "verdict": "wrong" if wrong else "right",
        "text": "; ".join(wrong),
        "errors": errors,
        "allowed": allowed,
        "sites": len(model.sites),
    }


def _worst(own: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    from thinned.models.export.proving import gap

    return max(gap(np.asarray(x), found.get(name)) for name, x in own.items())


def table(results: Mapping[str, Any]) -> str:
    """Counts by group, then what is not right with its reason."""
    run = list(results["members"].values())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"Python {results['python']}, {versions}; {results['date']}; `make zoo-export`. {len(run)} models.",
        "",
        "| models | " + " | ".join(VERDICTS) + " |",
        "| --- |" + " ---: |" * len(VERDICTS),
    ]
    for group, words in GROUPS.items():
        own = Counter(record["verdict"] for record in run if record["group"] == group)
        if own:
            lines.append(f"| {words} | " + " | ".join(str(own[verdict]) for verdict in VERDICTS) + " |")
    counts = Counter(record["verdict"] for record in run)
    lines.append("| all | " + " | ".join(str(counts[verdict]) for verdict in VERDICTS) + " |")
    bad = [record for record in run if record["verdict"] not in ("right", "rightly refused")]
    if bad:
        lines += ["", "| not right | verdict | what was said |", "| --- | --- | --- |"]
        for record in bad:
            said = re.sub(r"\s+", " ", record["text"]).replace("|", "/").replace("<", "&lt;")[:240]
            lines.append(f"| {record['name']} | {record['verdict']} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
