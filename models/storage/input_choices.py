"""What a user says of a model's inputs at import: columns of tables, what fills rows up, how images are resized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from thinned.models.card import ImageResize, InputSpec
from thinned.models.errors import ThinnedError, UsageError

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["check_padding", "with_columns", "with_image_resize", "with_padding"]

_ROWS, _SHORT, _MORE = 8, 2, 3
"""So many values are filled up, of rows as short as the second, to see whether they change an answer."""


def with_columns(specs: Sequence[InputSpec], columns: Mapping[str | None, Sequence[str]]) -> tuple[InputSpec, ...]:
    """The inputs with the names of their columns.

    Args:
        specs: The inputs.
        columns: By input name, or under None of the only one.

    Raises:
        UsageError: There is no such input, it takes another number of values, or a name is there twice.
    """
    chosen = _by_input("--feature-names", specs, columns)
    named = tuple(
        spec.model_copy(update={"columns": tuple(chosen[spec.name])}) if spec.name in chosen else spec for spec in specs
    )
    for spec in named:
        if spec.columns is not None and len(spec.columns) != spec.numbers:
            takes = "rows of any length" if spec.numbers is None else f"{spec.numbers} values in a row"
            raise UsageError(f"--feature-names: input {spec.name!r} takes {takes}, received {len(spec.columns)} names")
    every = chain.from_iterable((spec.name,) if spec.columns is None else spec.columns for spec in named)
    twice = [name for name, count in Counter(every).items() if count > 1]
    if twice or any(not name for spec in named for name in spec.columns or ()):
        raise UsageError(
            f"--feature-names expects names that differ and are not empty; {twice[0] if twice else ''!r} is there"
        )
    return named


def with_padding(specs: Sequence[InputSpec], padding: Mapping[str | None, str]) -> tuple[InputSpec, ...]:
    """The inputs with what shorter rows of them are filled up with.

    Raises:
        UsageError: There is no such input, its length does not vary, or the value is none of its own.
    """
    chosen = _by_input("--padding", specs, padding)
    found = []
    for spec in specs:
        if spec.name in chosen:
            if spec.shape[:1] != (None,):
                raise UsageError(f"--padding: all rows of input {spec.name!r} are as long; nothing is filled up")
            spec = spec.model_copy(update={"padding": _value(chosen[spec.name], spec)})
        found.append(spec)
    return tuple(found)


def with_image_resize(specs: Sequence[InputSpec], chosen: Mapping[str | None, ImageResize]) -> tuple[InputSpec, ...]:
    """The inputs with how images of another size are brought to theirs.

    Raises:
        UsageError: There is no such input, or it takes no images of one size.
    """
    methods = _by_input("--image-resize", specs, chosen)
    for spec in specs:
        if spec.name not in methods:
            continue
        sides, channels = spec.shape[:2], spec.shape[2:]
        if len(sides) < 2 or channels not in ((), (1,), (3,)) or spec.dtype in ("string", "bool"):
            raise UsageError(
                "--image-resize expects an input of numbers of shape (height, width), (height, width, 1) or (height, "
                f"width, 3); {spec.name!r} takes {spec.dtype} of shape {spec.shape}"
            )
        if None in sides:
            raise UsageError(
                f"--image-resize: input {spec.name!r} takes images of any size, {spec.shape}; nothing is resized. Give "
                "it one size: --input-shape"
            )
    return tuple(
        spec.model_copy(update={"image_resize": methods[spec.name]}) if spec.name in methods else spec for spec in specs
    )


def _value(text: str, spec: InputSpec) -> int | float | str:
    if spec.dtype == "string":
        return text
    value: float = float("nan")
    with suppress(ValueError):
        value = int(text) if "int" in spec.dtype else float(text)
    size = spec.table_size
    if not np.isfinite(value) or spec.dtype == "bool" or (size is not None and not 0 <= value < size):
        wanted = f"an integer from 0 to {size - 1}" if size is not None else f"a value of dtype {spec.dtype}"
        raise UsageError(f"--padding expects {wanted} for input {spec.name!r}, received {text!r}")
    return value


def _by_input(option: str, specs: Sequence[InputSpec], chosen: Mapping[str | None, Any]) -> dict[str, Any]:
    names = [spec.name for spec in specs]
    found = {}
    for name, value in chosen.items():
        if name is None and len(names) > 1:
            raise UsageError(f"{option}: the model has several inputs; name one, as in {option} {names[0]}=...")
        if name is not None and name not in names:
            raise UsageError(f"{option} expects an input of the model ({', '.join(names)}), received {name!r}")
        found[names[0] if name is None else name] = value
    return found


def check_padding(
    model: StochasticModel, specs: tuple[InputSpec, ...], *, given: Mapping[str | None, str]
) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """Try whether filling rows up leaves the model's answers as they are.

    Where it does not, what was read from the model is taken back, and what the user gave is kept with a warning.

    Returns:
        The inputs, and warnings for the card.
    """
    asked = {specs[0].name if name is None else name for name in given}
    checked: list[InputSpec] = []
    warnings: list[str] = []
    for spec in specs:
        if spec.padding is not None and not _is_neutral(model, spec):
            if spec.name in asked:
                warnings.append(
                    f"Shorter rows of input {spec.name!r} are filled up with {spec.padding}, which changes their "
                    "answers: they depend on the longest row of a request."
                )
            else:
                spec = spec.model_copy(update={"padding": None})
        checked.append(spec)
    return tuple(checked), tuple(warnings)


def _is_neutral(model: StochasticModel, spec: InputSpec) -> bool:
    """Whether rows answer the same filled up: short ones, whose answer shows it best, where the model takes them."""
    rows = model.examples.rows(_ROWS)
    for length in (_SHORT, None):
        cut = {**rows, spec.name: rows[spec.name][:, :length]}
        try:
            before = model.predict(cut)
        except ThinnedError:
            continue
        x = cut[spec.name]
        more = np.full((len(x), _MORE, *x.shape[2:]), spec.padding, x.dtype)
        try:
            after = model.predict({**cut, spec.name: np.concatenate([x, more], axis=1)})
        except ThinnedError:
            return False
        return all(_same(before[name], answer) for name, answer in after.items())
    return False


def _same(before: Any, after: Any) -> bool:
    largest = max(1.0, float(np.abs(before).max(initial=0.0)))
    return before.shape == after.shape and np.allclose(before, after, rtol=1e-4, atol=1e-5 * largest)
