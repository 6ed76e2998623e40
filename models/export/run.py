"""Export a stored model: written beside its place, held against the engine, and then moved there, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from thinned.models.errors import UsageError
from thinned.models.export.onnx_files import ONNX_PASSES, write_onnx
from thinned.models.export.proving import Agreement, prove
from thinned.models.export.saved_model import write_saved_model
from thinned.models.export.signatures import DEFAULT_PASSES, DEFAULT_SEED, PASSES, ExportedFunctions
from thinned.models.loading import load_stored
from thinned.models.run_facts import date, versions
from thinned.models.sampling import Estimator, Sampling
from thinned.models.storage.stored_model import StoredModel
from thinned.models.storage.temporary_folders import STAGING, sweep, temporary_folder

__all__ = ["CARDS", "Exported", "Form", "check_place", "export_model"]

Form = Literal["saved-model", "onnx"]
CARDS: dict[Form, str] = {"saved-model": "assets.extra/export.json", "onnx": "export.json"}
"""Where an export says what it is: of a SavedModel in a folder that TensorFlow Serving leaves to others."""


@dataclass(frozen=True)
class Exported:
    """What was written: its folder, its signatures with what they answer, its size, and how it was held against us."""

    folder: Path
    signatures: dict[str, list[str]]
    bytes: int
    agreement: Agreement
    runtime: str


def check_place(folder: Path) -> None:
    """Refuse a folder that holds anything, before the work.

    Raises:
        UsageError: It is a file, it is not empty, or what it stands in cannot be written to.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"--output {folder}: expected a folder that is not there yet, or is empty; this is a file")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"--output {folder}: the folder is not empty; name another, or remove it")
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: it cannot be written ({error.strerror}); name another") from error


def export_model(
    stored: StoredModel,
    folder: Path,
    *,
    form: Form = "saved-model",
    sampling: Sampling = "stratified",
    estimator: Estimator = "best",
    on_step: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a stored model as a SavedModel, or as ONNX.

    Args:
        stored: The model.
        folder: Where to; it must not be there, or be empty.
        form: What it is written as.
        sampling: How passes relate to each other.
        estimator: How mean and variance are made of them.
        on_step: Told what is being done.

    Raises:
        UsageError: The folder cannot be written, or is not empty.
        ExportError: The model cannot be written so, or what was written does not answer as the engine does.
    """
    check_place(folder)
    on_step(f"Loading {stored.tag}")
    functions = ExportedFunctions(load_stored(stored), stored.card.outputs, sampling, estimator)
    parent = folder.absolute().parent
    sweep(parent)
    with temporary_folder(parent, STAGING) as staging:
        place = staging / "exported"
        on_step("Writing it")
        if form == "onnx":
            signatures, runtime = write_onnx(functions, place), "ONNX Runtime"
        else:
            signatures, runtime = _write_saved_model(functions, place), "TensorFlow"
        on_step(f"Loading it with {runtime} alone, and comparing it with the engine")
        passes = ONNX_PASSES if form == "onnx" else PASSES
        agreement = prove(functions, place, passes=passes, runtime=runtime)
        card = place / CARDS[form]
        card.parent.mkdir(exist_ok=True)
        card.write_text(json.dumps(_card(stored, functions, agreement), indent=2) + "\n", encoding="utf-8")
        place.rename(folder.absolute())  # an empty folder gives way
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(folder, signatures, size, agreement, runtime)


def _write_saved_model(functions: ExportedFunctions, place: Path) -> dict[str, list[str]]:
    traced = functions.traced()
    write_saved_model(traced, functions.model.keras_model, place)
    return {name: list(function.get_concrete_function().structured_outputs) for name, function in traced.items()}


def _card(stored: StoredModel, functions: ExportedFunctions, agreement: Agreement) -> dict[str, Any]:
    defaults = {"n_samples": DEFAULT_PASSES, "seed": DEFAULT_SEED} if functions.model.has_passes else {}
    return {
        "model": stored.tag,
        "sha256": stored.card.sha256,
        "exported": date(),
        "versions": versions(("tensorflow", "keras", "numpy", "tf2onnx", "onnxruntime")),
        "inputs": functions.keys,
        "defaults": defaults,
        "sampling": functions.sampling,
        "estimator": functions.estimator,
        "row_passes": functions.model.row_passes if functions.model.sites else None,
        "agreement": asdict(agreement),
        "card": stored.card.summary(),
    }
