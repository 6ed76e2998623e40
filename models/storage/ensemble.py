"""Several stored models made one: an ensemble, which holds its members and needs them no longer in the store."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from thinned._version import __version__
from thinned.models.card import InputSpec, MemberSpec, ModelCard
from thinned.models.errors import ThinnedError, UnsupportedModelError, UsageError
from thinned.models.storage.agreement import Agreement, agree
from thinned.models.storage.bounded_building import refuse_wide_layers
from thinned.models.storage.difference import refuse_if_different
from thinned.models.storage.import_request import ImportRequest, current_version
from thinned.models.storage.input_choices import check_padding
from thinned.models.storage.keras_archive import read_keras
from thinned.models.storage.legacy.conversion import archive_of
from thinned.models.storage.model_store import StoredModel, check_name, digest, load_keras, load_rows, store
from thinned.models.storage.proving import (
    NO_SITES,
    as_refusals,
    kept_rows,
    prove,
    short_audit,
    warnings_of,
    with_estimators,
)
from thinned.models.storage.stored_model import LAYERS_FILE, verify_files

if TYPE_CHECKING:
    from thinned.models.dropout import ExampleRows

__all__ = ["make_ensemble"]


def make_ensemble(
    members: Sequence[StoredModel],
    *,
    name: str,
    note: str | None = None,
    replace: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> StoredModel:
    """Store an ensemble of several stored models, as a version of a name.

    Its archive holds copies of all members, which share its inputs. Like any model it is proven before it is stored.

    Args:
        members: Two or more; one may be there twice.
        name: Its name in the store; a name that is there gets a new version.
        note: A person's words on this version.
        replace: Whether it may take or answer something else than the version whose place it takes.
        on_step: Called with what is done next, in words.

    Returns:
        The ensemble; where the same was made before, that version, which is `latest` again.

    Raises:
        UsageError: There are fewer than two members.
        UnsupportedModelError: They do not agree, or cannot be called side by side.
        ModelExistsError: The name is not a valid name.
        ModelDiffersError: It takes or answers something else than the version before, and may not `replace` it.
        ModelCorruptError: A member's file is not the one that was stored.
    """
    if len(members) < 2:
        raise UsageError(f"an ensemble has two members or more, received {len(members)}; name further models")
    check_name(name)
    agreed = agree(members)
    before = current_version(name)
    if before is not None and not replace:
        refuse_if_different(before.card, before.tag, agreed.inputs, agreed.outputs)
    request = _request(members, note)
    known = request.find(name)
    if known is not None:
        return request.point_to(known)
    for member in members:
        verify_files(member)
    module = _module(members)
    on_step("Reading the members")
    with as_refusals():
        archive = archive_of(_joined(members, agreed), ())
        keras_model = read_keras(archive.path, module)
    refuse_wide_layers(archive.path, keras_model)
    from thinned.models.dropout import enable_mc_dropout
    from thinned.models.dropout.pooling import Pooling

    on_step("Looking for what draws noise, and for rows to try the ensemble on")
    with as_refusals():
        examples = _examples(keras_model, members, agreed)
        model = enable_mc_dropout(
            keras_model, input_specs=agreed.inputs, examples=examples, pooling=Pooling.of(agreed.outputs)
        )
        noted = prove(model, keras_model, on_step)
        outputs = with_estimators(model, agreed.outputs)
        specs, padded = check_padding(model, agreed.inputs, given={})
        on_step("Auditing its dropout")
        card = ModelCard(
            name=name,
            inputs=specs,
            outputs=outputs,
            sites=model.sites,
            split=model.split,
            sha256=digest(archive.path),
            members=tuple(MemberSpec(name=m.card.name, version=m.version, sha256=m.card.sha256) for m in members),
            module_sha256=digest(module) if isinstance(module, Path) else None,
            package=module if isinstance(module, str) else None,
            keras_version=importlib.metadata.version("keras"),
            thinned_version=__version__,
            created=datetime.datetime.now(datetime.UTC),
            note=note,
            import_sha256=request.sha256,
            warnings=(*agreed.notes, *_of_members(members), *warnings_of(model, outputs), *noted, *padded),
            audit=short_audit(model, outputs) if model.sites else None,
            examples=examples.recipes,
        )
    kept = module if isinstance(module, Path) else None
    return store(archive.path, card, module=kept, rows=kept_rows(examples))


def _request(members: Sequence[StoredModel], note: str | None) -> ImportRequest:
    """What is asked for: the same members in the same order, note included, are the same ensemble."""
    parts = [
        ("ensemble", __version__, importlib.metadata.version("keras"), note),
        *((member.tag, member.card.model_dump_json()) for member in members),
    ]
    return ImportRequest(hashlib.sha256(repr(parts).encode()).hexdigest())


def _module(members: Sequence[StoredModel]) -> Path | str | None:
    """The one module of custom layers, a file or the name of a package."""
    for member in members:
        if member.card.module_sha256 is not None:
            return member.path / LAYERS_FILE
        if member.card.package is not None:
            return member.card.package
    return None


def _joined(members: Sequence[StoredModel], agreed: Agreement) -> Any:
    """One Keras model that calls each member once on the same inputs, and gives the outputs of one after the other."""
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    import keras

    from thinned.models.dropout import read_signature
    from thinned.models.dropout.pooling import member_name

    inputs = [
        keras.Input(spec.shape, dtype=spec.dtype, name=name)
        for spec, name in zip(agreed.inputs, _layer_names(agreed.inputs), strict=True)
    ]
    outputs: list[Any] = []
    for i, (member, at, order) in enumerate(zip(members, agreed.inputs_of, agreed.outputs_of, strict=True)):
        model = load_keras(member)
        signature = read_signature(model, member.card.inputs)
        model.name = member_name(i)
        given = [inputs[at.index(place)] for place in range(len(inputs))]
        try:
            answer = keras.tree.flatten(signature.call(given, None))
        except ThinnedError:
            raise
        except Exception as error:
            raise UnsupportedModelError(
                f"{member.tag} cannot be called as a part of another model ({type(error).__name__}: {error}); build it "
                "as a functional or Sequential model, and import it again"
            ) from error
        outputs += [answer[place] for place in order]
    return keras.Model(inputs, outputs, name="ensemble")


def _layer_names(specs: Sequence[InputSpec]) -> list[str]:
    """Names of the input layers: the inputs' own, which as keys of a dictionary may be no names of layers."""
    written = [re.sub(r"[^A-Za-z0-9_.]", "_", spec.name) for spec in specs]
    same = [name == spec.name for name, spec in zip(written, specs, strict=True)]
    return written if all(same) else [f"in_{i}_{name}" for i, name in enumerate(written)]


def _examples(keras_model: Any, members: Sequence[StoredModel], agreed: Agreement) -> ExampleRows:
    """Rows to try it on: those that were given with a member, else made up, else those of a member."""
    from thinned.models.dropout import ExampleRows, find_examples, given_examples, read_signature

    signature = read_signature(keras_model, agreed.inputs)
    rows = _given(members, agreed)
    if rows is not None:
        return given_examples(keras_model, signature, rows)
    found = find_examples(keras_model, signature)
    if found.problem is None:
        return found
    recipes = members[0].card.examples  # the first member's inputs are the ensemble's
    if recipes:
        given_examples(keras_model, signature, ExampleRows(recipes).rows(3))
        return ExampleRows(recipes)
    raise UnsupportedModelError(
        f"no rows could be made up that all members answer with finite numbers: {found.problem}. Import a member again "
        "with a few rows of your data (--data)"
    )


def _given(members: Sequence[StoredModel], agreed: Agreement) -> Mapping[str, npt.NDArray[Any]] | None:
    """The rows of the user's data that were kept beside the first member that has some."""
    for member, at in zip(members, agreed.inputs_of, strict=True):
        rows = load_rows(member)
        if rows is not None:
            names = [member.card.inputs[place].name for place in at]
            return {spec.name: rows[name] for spec, name in zip(agreed.inputs, names, strict=True)}
    return None


def _of_members(members: Sequence[StoredModel]) -> list[str]:
    """What the cards of the members warn of."""
    return [
        f"{member.tag}: {warning}"
        for member in {member.tag: member for member in members}.values()
        for warning in member.card.warnings
        if warning != NO_SITES
    ]
