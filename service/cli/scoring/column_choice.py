"""Which columns of a table are inputs of the model, and which are kept beside the answers."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from thinned.models.card import InputSpec
from thinned.models.errors import UsageError
from thinned.service.cli.column_files import wrong_file
from thinned.service.schema.records import columns_of, numbered

__all__ = ["choose_inputs"]

_TOLD = 12


def choose_inputs(
    names: Sequence[str], specs: Sequence[InputSpec], given: Sequence[str] | None, key: str | None, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that hold the inputs, as the table and as the model names them.

    Args:
        names: All columns of the table.
        specs: The model's inputs.
        given: Those that a person named, in the order in which a lone input takes them; None to find them by name, or
            to take all but the key where the model has no names and there are as many.
        key: The column that names rows.
        where: The table, for messages.

    Raises:
        InputError: A column is missing, or is there twice.
        UsageError: The given ones do not fit.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise wrong_file(where, f"expected columns of different names; there twice: {_told(twice)}")
    if key is not None and key not in names:
        raise UsageError(f"--key {key}: {where} has no such column{_meant(key, names)}; it has {_told(names)}")
    if given is not None:
        return _given(names, specs, given, where)
    found = tuple(chain.from_iterable(_by_name(names, spec) for spec in specs))
    missing = [name for name in found if name not in names]
    if not missing:
        return found, found
    lone = specs[0]
    if len(specs) == 1 and lone.columns is None:
        others = tuple(name for name in names if name != key)
        if len(others) == lone.numbers or (lone.shape == () and len(others) == 1):
            return others, others
        numbers = "columns" if lone.numbers is None else f"{lone.numbers} columns"
        raise wrong_file(
            where,
            f"the model has no names for its {numbers}; say which of {_told(names)} they are, in its order: --columns "
            "A,B,C (or name them at import: --feature-names)",
        )
    near = "".join(dict.fromkeys(_meant(name, [n for n in names if n not in found]) for name in missing[:4]))
    raise wrong_file(
        where, f"expected the columns {_told(found)}; missing: {_told(missing)}{near}; there are {_told(names)}"
    )


def _given(
    names: Sequence[str], specs: Sequence[InputSpec], given: Sequence[str], where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if len(specs) > 1:
        inputs = ", ".join(spec.name for spec in specs)
        raise UsageError(f"--columns is for a model of one input; name the columns as its inputs are named: {inputs}")
    missing = [name for name in given if name not in names]
    if missing:
        near = _meant(missing[0], names)
        raise UsageError(f"--columns: {where} has no column {missing[0]!r}{near}; it has {_told(names)}")
    if len(set(given)) < len(given):
        raise UsageError(f"--columns expects each column once, received {_told(given)}")
    spec = specs[0]
    lists = len(given) == 1 and spec.numbers != 1 and spec.columns is None
    if spec.numbers not in (None, len(given)) and not lists:
        raise UsageError(
            f"--columns expects {spec.numbers} columns, or one of lists, for the input {spec.name!r}, received "
            f"{len(given)}"
        )
    own = columns_of(spec)
    if lists:
        return tuple(given), (spec.name,)
    return tuple(given), own if own is not None else tuple(given)


def _by_name(names: Sequence[str], spec: InputSpec) -> tuple[str, ...]:
    own = columns_of(spec)
    if own is not None:
        return own
    if spec.name in names:
        return (spec.name,)
    if spec.shape == (None,):
        width = 0
        while f"{spec.name}_{width}" in names:
            width += 1
        return numbered(spec, max(1, width))
    return numbered(spec) or (spec.name,)


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(repr(name[:60]) for name in names[:_TOLD]) + more


def _meant(name: str, among: Sequence[str]) -> str:
    known = {other.strip().casefold(): other for other in among[:64]}
    near = difflib.get_close_matches(name.strip().casefold()[:64], known, n=1)
    return f" (is {known[near[0]]!r} meant?)" if near else ""
