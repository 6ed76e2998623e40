"""Bring a Keras file into the store: read it, find its noise, check its laws, settle its outputs, write its card."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy.typing as npt

from thinned._version import __version__
from thinned.models.card import ImageResize, InputSpec, ModelCard, Scale, Task
from thinned.models.errors import UnsupportedModelError
from thinned.models.gaussian_heads import GaussianHeads
from thinned.models.storage.bounded_building import refuse_wide_layers
from thinned.models.storage.difference import refuse_if_different
from thinned.models.storage.expectation import read_expectation
from thinned.models.storage.import_request import ImportRequest, current_version
from thinned.models.storage.input_choices import check_padding, with_columns, with_image_resize, with_padding
from thinned.models.storage.keras_archive import check_format, read_keras
from thinned.models.storage.legacy.conversion import CurrentArchive, archive_of, current_archive
from thinned.models.storage.model_store import StoredModel, check_name, digest, store
from thinned.models.storage.output_task import PerOutput, output_specs
from thinned.models.storage.proving import (
    as_refusals,
    kept_rows,
    prove,
    short_audit,
    warnings_of,
    with_estimators,
)

if TYPE_CHECKING:
    from thinned.models.dropout import ExampleRows

__all__ = ["import_model"]

T = TypeVar("T")
RowsOf: TypeAlias = "Callable[[Sequence[InputSpec]], Mapping[str, npt.NDArray[Any]]]"


def import_model(
    path: Path,
    *,
    name: str,
    tasks: PerOutput[Task],
    labels: PerOutput[Sequence[str]] | Sequence[str] | None = None,
    scale: PerOutput[Scale] | Scale | None = None,
    module: Path | str | None = None,
    input_specs: Sequence[InputSpec] | None = None,
    scores: Mapping[str, float] | None = None,
    data: RowsOf | None = None,
    data_sha256: str | None = None,
    expect: Path | None = None,
    note: str | None = None,
    replace: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
    columns: Mapping[str | None, Sequence[str]] | None = None,
    padding: Mapping[str | None, str] | None = None,
    image_resize: Mapping[str | None, ImageResize] | None = None,
    insert: Mapping[str, float] | None = None,
    gaussian: Sequence[GaussianHeads] = (),
    levels: PerOutput[Sequence[float]] | None = None,
) -> StoredModel:
    """Import a `.keras` file, or one of earlier Keras (HDF5, an archive of Keras 2), which is converted.

    Args:
        path: The file.
        name: Its name in the store; a name that is there gets a new version.
        tasks: The task of each output by name, or of all under None.
        labels: Class names, in the order of the last axis; for a single unit, of "no" and "yes". With several outputs
            by output name, or for all classification outputs under None.
        scale: How the numbers of a classification output are to be read, where its last activation does not tell.
        module: A `.py` file of custom objects, kept beside the model; or the name of an installed package, which must
            be installed wherever the model is loaded. It is run.
        input_specs: The inputs, for a subclassed model that does not know them; or lengths that the model leaves open.
        scores: Test scores to put on the card.
        data: Given the model's inputs, reads rows of the user's data, by input name (B, *input_shape). The model is
            checked on them, now and when it is loaded; a few are kept beside it. By default rows are made up.
        data_sha256: Digest of the file of those rows; without it the same import is not known again.
        columns: Names of the columns of tables that hold an input, by input name, or under None of the only one.
        padding: What shorter rows of an input are filled up with, likewise; 0 where an embedding masks it.
        image_resize: How images of another size are brought to that of an input, likewise; they are refused by default.
        insert: Rates of dropout to put behind layers of a model that was trained without, by the layers' names.
        gaussian: Pairs of outputs, a mean and its spread, that become one output each, whose task is gaussian.
        levels: Of an output of quantiles the level of each entry of its last axis, by output name, or under None.
        expect: A `.npz` of inputs and the outputs recorded for them, which the model must answer again.
        note: A person's words on this version.
        replace: Whether it may take or answer something else than the version whose place it takes.
        on_step: Called with what is done next, in words.

    Returns:
        The stored model; `card.warnings` says what a person should know. Where the same file was imported with the same
        options before, that version, which is `latest` again.

    Raises:
        ModelFileError: The file cannot be loaded safely.
        ModelExistsError: The name is not a valid name.
        ModelDiffersError: It takes or answers something else than the version before, and may not `replace` it.
        InputError: The rows of `data` do not fit the model.
        UsageError: The columns, the padding or the resizing do not fit an input, or there is no layer to `insert`
            dropout behind.
        UnsupportedModelError: The model cannot be served, breaks a law that answers rest on, or has an output that does
            not fit its task, labels, levels or scale.
    """
    check_format(path, hdf5_too=True)
    check_name(name)
    expected = None if expect is None else read_expectation(expect)
    request = ImportRequest.of(
        path,
        module=module,
        expect=expect,
        options=(
            tasks,
            labels,
            scale,
            input_specs,
            columns,
            padding,
            note,
            scores,
            insert or {},
            data_sha256 if data is not None else "made up",
            *([levels] if levels else []),
            *([gaussian] if gaussian else []),
            *([image_resize] if image_resize else []),
        ),
    )
    before = current_version(name)
    known = None if data is not None and data_sha256 is None else request.find(name)
    if known is not None:
        if before is not None and not replace:
            refuse_if_different(before.card, before.tag, known.card.inputs, known.card.outputs)
        return request.point_to(known)
    on_step("Reading the file")
    archive = current_archive(path, module)  # holds the converted copy of an old file
    keras_model = read_keras(archive.path, module)
    # Not before the file was read: refusing one takes no TensorFlow, and reading one silences its greeting.
    import keras

    from thinned.models.dropout import check_weights, enable_mc_dropout, insert_dropout, inserted_notes, join_heads

    if insert:
        keras_model = insert_dropout(keras_model, insert)
    if gaussian:
        keras_model = join_heads(keras_model, gaussian)
        tasks = {**tasks, **dict.fromkeys([pair.joined for pair in gaussian], "gaussian")}
    if insert or gaussian:
        archive = archive_of(keras_model, archive.notes)
    path = archive.path
    sha256 = digest(path)
    check_weights(keras_model)
    refuse_wide_layers(path, keras_model)
    with as_refusals():
        on_step("Looking for what draws noise, and for rows to try the model on")
        examples, specs = _examples(keras_model, input_specs, data, columns or {}, padding or {})
        specs = with_image_resize(specs, image_resize or {})
        model = enable_mc_dropout(keras_model, input_specs=input_specs, examples=examples)
        outputs = output_specs(
            model.outputs, tasks=tasks, labels=_by_output(labels), scale=_by_output(scale), levels=levels
        )
        if before is not None and not replace:
            refuse_if_different(before.card, before.tag, model.inputs, outputs)
        noted = prove(model, keras_model, on_step, expected=expected)
        outputs = with_estimators(model, outputs)
        specs, padded = check_padding(model, specs, given=padding or {})
        on_step("Auditing its dropout")
        card = ModelCard(
            name=name,
            inputs=specs,
            outputs=outputs,
            sites=model.sites,
            split=model.split,
            sha256=sha256,
            module_sha256=digest(module) if isinstance(module, Path) else None,
            package=module if isinstance(module, str) else None,
            keras_version=keras.__version__,
            thinned_version=__version__,
            created=datetime.datetime.now(datetime.UTC),
            note=note,
            import_sha256=request.sha256,
            warnings=(
                *_origin(archive, expect),
                *inserted_notes(insert or {}),
                *(f"'{p.joined}' holds '{p.mean}' and the log-variance by '{p.spread}'." for p in gaussian),
                *warnings_of(model, outputs),
                *noted,
                *padded,
            ),
            audit=short_audit(model, outputs),
            examples=examples.recipes,
            scores=dict(scores or {}),
        )
    kept = module if isinstance(module, Path) else None
    return store(path, card, module=kept, rows=kept_rows(examples))


def _examples(
    keras_model: Any,
    input_specs: Sequence[InputSpec] | None,
    data: RowsOf | None,
    columns: Mapping[str | None, Sequence[str]],
    padding: Mapping[str | None, str],
) -> tuple[ExampleRows, tuple[InputSpec, ...]]:
    """The rows to try the model on, of the user's data or made up; and its inputs, with what the user says of them.

    Raises:
        InputError: The user's rows do not fit the model.
        UsageError: What the user says of an input does not fit it.
        UnsupportedModelError: No rows could be made up that it answers.
    """
    from thinned.models.dropout import find_examples, given_examples, read_signature

    signature = read_signature(keras_model, input_specs)
    specs = with_padding(with_columns(signature.inputs, columns), padding)
    if data is not None:
        return given_examples(keras_model, signature, data(specs)), specs
    examples = find_examples(keras_model, signature)
    if examples.problem is not None:
        raise UnsupportedModelError(
            f"no rows could be made up that the model answers with finite numbers: {examples.problem}. "
            "Give a few rows of your data: --data FILE (.npz, .npy, .csv, .parquet or .json)"
            + ("; or the lengths that vary: --input-shape" if any(None in i.shape for i in signature.inputs) else "")
        )
    return examples, specs


def _by_output(choice: PerOutput[T] | Sequence[str] | str | None) -> PerOutput[T]:
    if choice is None:
        return {}
    if isinstance(choice, Mapping):
        return choice
    return {None: choice}  # type: ignore[dict-item]


def _origin(archive: CurrentArchive, expect: Path | None) -> tuple[str, ...]:
    """What the card says of a file that was converted."""
    if not archive.notes:
        return ()
    checked = "Import it with --expect to compare its answers with recorded ones."
    if expect is not None:
        checked = f"It gives the answers recorded in {expect.name}."
    return f"{archive.notes[0]} {checked}", *archive.notes[1:]
