"""Hold an exported file against the engine: the same rows, in a process that imports the file's runtime alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.errors import ExportError
from thinned.models.export import bare_process
from thinned.models.export.signatures import PASSES, PREDICT, SAMPLE, ExportedFunctions
from thinned.models.uncertainty.answer import answer_output

__all__ = [
    "MANY",
    "SEED",
    "Agreement",
    "BareAnswers",
    "BareCall",
    "allowed_error",
    "call_bare",
    "engine_answers",
    "gap",
    "least_scale",
    "prove",
    "run_bare",
]

Array = npt.NDArray[Any]
ROWS, FEW, MANY, SEED = 3, 4, 72, 20261128
"""Rows; passes of which each is compared; passes whose statistics are: two blocks of 32, and a part of one."""
TOLERANCE, HALF_TOLERANCE, MOST_TOLERANCE = 1e-4, 3e-2, 1e-2
MARGIN = 4.0
SECONDS = 600.0


@dataclass(frozen=True)
class BareCall:
    """One call of a signature: arrays by its own names of inputs, and `n_samples` and `seed` where it takes them."""

    exported: Path
    signature: str
    inputs: Mapping[str, Array]
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Agreement:
    """How far an exported file lies from the engine.

    `errors` are the largest differences by signature and field, relative to the largest number of the engine's, or to
    a nat where an entropy is below it. None of them is above `tolerance`.
    """

    errors: dict[str, float]
    tolerance: float


@dataclass(frozen=True)
class BareAnswers:
    """What signatures answered, by name of output, an entry for each call; what was refused; what was imported.

    A call that was refused has no outputs: `refused` says by its place what the runtime said. `modules` are all that
    the process had imported in the end.
    """

    answers: list[dict[str, Array]]
    refused: dict[int, str]
    modules: list[str]


def run_bare(folder: Path) -> None:
    """Start the process that answers what is in a folder.

    Raises:
        ExportError: It ended without answers; the text says what it said.
    """
    command = [sys.executable, "-I", bare_process.__file__, str(folder)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"a process with its runtime alone gave no answer in {SECONDS:.0f} s") from error
    if done.returncode or not (folder / "errors.json").is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        last = said[-1] if said else f"exit status {done.returncode}"
        raise ExportError(f"a process with its runtime alone cannot load the file: {last}")


def call_bare(calls: Sequence[BareCall], run: Callable[[Path], None] = run_bare) -> BareAnswers:
    """Call signatures in a process of their own, which imports their runtime and NumPy alone.

    Args:
        calls: The calls.
        run: Has such a process answer what is in a folder.

    Raises:
        ExportError: The process ended without answers; the text says what it said.
    """
    with tempfile.TemporaryDirectory(prefix="thinned-export-") as name:
        folder = Path(name)
        arrays: dict[str, Array] = {}
        request = []
        for place, call in enumerate(calls):
            held = {key: f"{place}-{i}" for i, key in enumerate(call.inputs)}
            arrays |= {held[key]: x.astype(str) if x.dtype == object else x for key, x in call.inputs.items()}
            path = str(call.exported.absolute())
            request.append(
                {"exported": path, "signature": call.signature, "inputs": held, "numbers": dict(call.numbers)}
            )
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
        run(folder)
        refused = json.loads((folder / "errors.json").read_text(encoding="utf-8"))
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        answers: list[dict[str, Array]] = [{} for _ in calls]
        with np.load(folder / "answers.npz", allow_pickle=False) as found:
            for key in found.files:
                number, _, output = key.partition(":")
                answers[int(number)][output] = found[key]
    return BareAnswers(answers, {int(place): text for place, text in refused.items()}, modules)


def prove(
    functions: ExportedFunctions, folder: Path, *, passes: str = PASSES, runtime: str = "TensorFlow"
) -> Agreement:
    """Compare what a file answers with what the engine does: the plain answer, passes one by one, and statistics.

    Args:
        functions: What was exported.
        folder: Where it is.
        passes: What the signature of statistics is called there.
        runtime: What runs it, in words.

    Raises:
        ExportError: The file cannot be loaded without Thinned, or answers otherwise; the text says what and how far.
    """
    model, keys = functions.model, functions.keys
    rows = model.examples.rows(ROWS)
    inputs = {key: model.flat(rows)[i] for i, key in enumerate(keys.values())}
    calls = [BareCall(folder, PREDICT, inputs, {})]
    if model.has_passes:
        calls.append(BareCall(folder, passes, inputs, {"n_samples": MANY, "seed": SEED}))
    if model.sites:
        calls.append(BareCall(folder, SAMPLE, inputs, {"n_samples": FEW, "seed": SEED}))
    bare = call_bare(calls)
    for place, text in bare.refused.items():
        raise ExportError(f"{runtime} alone refuses the signature {calls[place].signature!r}: {text[:400]}")
    expected: list[dict[str, Array]] = [dict(model.predict(rows))]
    if model.has_passes:
        expected.append(engine_answers(functions, rows))
    if model.sites:
        expected.append(dict(model.sample(rows, n_samples=FEW, seed=SEED, sampling=functions.sampling)))
    errors: dict[str, float] = {}
    for call, own, found in zip(calls, expected, bare.answers, strict=True):
        for name, x in own.items():
            errors[f"{call.signature}: {name}"] = gap(x, found.get(name), least=least_scale(name))
    allowed = allowed_error(model)
    wrong = [f"{name} by {error:.2g}" for name, error in errors.items() if not error <= allowed]
    if wrong:
        raise ExportError(
            f"the exported file does not answer as the engine does ({'; '.join(wrong[:3])} of the largest number, "
            f"where {allowed:.2g} is allowed); it was removed"
        )
    return Agreement(errors, allowed)


def allowed_error(model: StochasticModel) -> float:
    """How far answers may lie from the engine's, relative to the largest number: rounding in another order."""
    return max(HALF_TOLERANCE if model.half_precision else TOLERANCE, min(MOST_TOLERANCE, MARGIN * model.rounding))


def engine_answers(functions: ExportedFunctions, rows: Mapping[str, Array]) -> dict[str, Array]:
    """What the API would say of MANY passes, by the names of the signature."""
    model = functions.model
    statistics = model.summary(
        rows, n_samples=MANY, seed=SEED, sampling=functions.sampling, estimator=functions.estimator
    )
    found: dict[str, Array] = {}
    for spec in functions.outputs:
        answer = answer_output(spec, statistics[spec.name], sampling=functions.sampling, calibrated=True)
        for field in _FIELDS:
            value = getattr(answer, field)
            if value is not None:
                found[field if len(functions.outputs) == 1 else f"{spec.name}/{field}"] = value
    return found


_FIELDS = (
    "mean",
    "variance",
    "variance_within",
    "variance_between",
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "mean_probabilities",
    "plain_mean",
    "plain_mean_probabilities",
    "plain_predictive_entropy",
)


def least_scale(field: str) -> float:
    """What differences of a field are told of, at least: entropies are of a nat, as their own differences are."""
    return 1.0 if field.endswith(("entropy", "information")) else 1e-30


def gap(own: Array, found: Array | None, *, least: float = 1e-30) -> float:
    """The largest difference over the largest number, or `least`; infinite where shapes or what is finite differ."""
    if found is None or found.shape != own.shape:
        return float("inf")
    if own.dtype.kind not in "biuf":
        return 0.0 if np.array_equal(own.astype(str), found.astype(str)) else float("inf")
    x, y = np.asarray(own, np.float64), np.asarray(found, np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(finite, np.isfinite(y)):
        return float("inf")
    scale = max(float(np.abs(x[finite]).max(initial=0.0)), least)
    return float(np.abs(x[finite] - y[finite]).max(initial=0.0)) / scale
