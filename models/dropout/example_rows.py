"""Rows on which a model is tried: a few of the user's own, or made up so that the model answers them.

What is made up need not be valid for a model that was never seen: a logarithm of a feature, a table of 40 years, six
poolings. So lengths, values and integers are tried in turn until Keras answers with finite numbers; the recipe that
worked goes into the card, and the same rows are made again whenever the model is loaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec, RowRecipe
from thinned.models.compat.keras import functional_graph
from thinned.models.compat.messages import message_of
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.partition.lookups import known_integers
from thinned.models.dropout.partition.signature import UNKNOWN_LENGTH, ModelSignature
from thinned.models.dropout.pixel_rows import largest_pixel
from thinned.models.dropout.refused_values import BEYOND_TABLE
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NO_NOISE
from thinned.models.dropout.string_rows import known_words, make_strings
from thinned.models.errors import InputError, Problem

__all__ = ["ExampleRows", "example_inputs", "find_examples", "given_examples"]

Array = npt.NDArray[Any]
_ROWS, _MANY_ROWS = 3, 16
_MOST_WORDS = 16
_MOST_INTEGERS = 64
_MOST_RANGES = 64
_FEW_NUMBERS = 4096
_MOST_NUMBERS = 1 << 25
_SECONDS = 30.0
# The likeliest first; then longer and shorter in turn: poolings want long rows, tables of positions short ones.
_LENGTHS = (UNKNOWN_LENGTH, 64, 16, 128, 8, 256, 4, 512, 2, 1024, 1, 2048, 4096, 8192, 16384)
_RANGES: tuple[tuple[float, float] | None, ...] = (None, (0.1, 0.9), (1.0, 2.0), (10.0, 100.0))
"""Where floating-point numbers are drawn from; None for the standard normal distribution."""


@dataclass(frozen=True)
class ExampleRows:
    """Where example rows come from.

    Args:
        recipes: How to make them up, an entry for each input.
        given: The user's own rows by input name, (B, *input_shape); None where rows are made up.
        problem: Why no rows could be found that the model answers; None where they could.
    """

    recipes: tuple[RowRecipe, ...]
    given: Mapping[str, Array] | None = None
    problem: str | None = None

    def rows(self, count: int, *, seed: int = 0) -> dict[str, Array]:
        """Some rows, by input name: of the user's own (again from the first where they are too few), or made up."""
        if self.given is not None:
            return {name: x[np.arange(count) % len(x)] for name, x in self.given.items()}
        made: dict[str, Array] = {}
        for i, recipe in enumerate(self.recipes):
            # Made by the 16, so that the first 3 of 16 rows are those of 3.
            draw = np.random.default_rng([seed, i])
            size = _MANY_ROWS if math.prod(recipe.shape) <= _FEW_NUMBERS else count
            made[recipe.name] = np.concatenate([_make(recipe, size, draw) for _ in range(0, count, size)])[:count]
        return made

    def of_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """One row of other lengths: made up, or the first row of the user's, repeated or cut."""
        if self.given is None:
            longer = tuple(r.model_copy(update={"shape": shapes[r.name]}) for r in self.recipes)
            return ExampleRows(longer).rows(1)
        return {name: np.resize(x[:1], (1, *shapes[name])) for name, x in self.given.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one row of each input, lengths that may vary filled in."""
        if self.given is not None:
            return {name: x.shape[1:] for name, x in self.given.items()}
        return {recipe.name: recipe.shape for recipe in self.recipes}

    def describe(self) -> str:
        """What the rows are, for a person: "made up: x (32, 3) standard normal numbers"."""
        if self.given is not None:
            count = len(next(iter(self.given.values())))
            return f"{count} {'row' if count == 1 else 'rows'} of the data given at import"
        return "made up: " + ", ".join(f"{r.name} {r.shape} {r.describe()}" for r in self.recipes)


def example_inputs(specs: Sequence[InputSpec], rows: int, *, seed: int = 0) -> dict[str, Array]:
    """Rows that fit `specs`: standard normal numbers, or zeros and ones where integers are due."""
    return ExampleRows(tuple(_first_guess(spec, UNKNOWN_LENGTH, None, None) for spec in specs)).rows(rows, seed=seed)


def given_examples(model: Any, signature: ModelSignature, rows: Mapping[str, Array]) -> ExampleRows:
    """The user's own rows as example rows. Rows that Keras does not answer with finite numbers are left out.

    Raises:
        InputError: The model refuses them, or answers none with finite numbers.
    """
    with kept_variables(model, trainable=False), patched(model, (), lambda site: NO_NOISE):
        answered = _answer(signature, rows)
    if isinstance(answered, str):
        raise InputError([Problem((), f"the model refuses the rows that were given: {answered}")])
    count = len(next(iter(rows.values())))
    if len(answered) != count:
        raise InputError([Problem((), f"the model gives {len(answered)} answers for the {count} rows that were given")])
    if not answered.any():
        raise InputError([Problem((), "the model answers none of the rows that were given with finite numbers")])
    kept = {spec.name: rows[spec.name][answered] for spec in signature.inputs}
    return ExampleRows(tuple(_of_given(spec, kept[spec.name]) for spec in signature.inputs), kept)


def _of_given(spec: InputSpec, x: Array) -> RowRecipe:
    """What the card says of the user's own rows."""
    recipe = RowRecipe(name=spec.name, shape=x.shape[1:], dtype=spec.dtype, values="given")
    if spec.dtype == "string":
        words = tuple(dict.fromkeys(str(word) for word in x.ravel().tolist()))[:_MOST_WORDS]
        return recipe.model_copy(update={"words": words})
    if spec.dtype == "bool":
        return recipe
    ranges: dict[str, Any] = {"low": float(x.min()), "high": float(x.max())}
    if math.prod(recipe.shape) <= _MOST_RANGES:
        columns = x.reshape(len(x), -1).astype(np.float64)
        ranges |= {"lows": tuple(columns.min(axis=0).tolist()), "highs": tuple(columns.max(axis=0).tolist())}
    return recipe.model_copy(update=ranges)


def find_examples(model: Any, signature: ModelSignature) -> ExampleRows:
    """Make up rows that the model answers with finite numbers.

    Lengths that vary, ranges of floating-point numbers and of integers are tried in turn, for half a minute at most.
    The sizes of tables are read from embeddings, and from what TensorFlow says of an index beyond one.

    Returns:
        The rows; with `problem` where none were found.
    """
    began = time.monotonic()
    known, pixels = _known(model, signature), _pixels(model, signature)
    first: ExampleRows | None = None
    free = any(None in spec.shape for spec in signature.inputs)
    with kept_variables(model, trainable=False), patched(model, (), lambda site: NO_NOISE):
        for length in _LENGTHS if free else _LENGTHS[:1]:
            for interval in _RANGES:
                guesses = [
                    _first_guess(s, length, interval, s.table_size, pixels.get(s.name)).model_copy(
                        update=known.get(s.name)
                    )
                    for s in signature.inputs
                ]
                if sum(math.prod(guess.shape) for guess in guesses) > _MOST_NUMBERS:
                    break
                trial, outcome = _with_integers(signature, ExampleRows(tuple(guesses)))
                if outcome is None:
                    return trial
                tried = f"{', '.join(f'{g.name} {g.shape} {g.describe()}' for g in guesses)}: {outcome}"
                first = first or replace(trial, problem=tried)
                if time.monotonic() - began > _SECONDS:
                    return first
                if free and not outcome.startswith(_NOT_FINITE):
                    break  # it could not be run: another length, not other numbers
        if first is None:
            raise ValueError("a model takes at least one input")
        batch = _batch_that_works(signature, first)
    if batch is not None:
        problem = (
            f"the model answers rows only for batches of {batch} rows: a reshape or an operation fixes their number"
        )
        return replace(first, problem=problem)
    return first


def _batch_that_works(signature: ModelSignature, trial: ExampleRows) -> int | None:
    """The number of rows that is written into the model, where it answers that number alone."""
    batches = (1, 2, *range(4, 16), 24, 25, 32, 50, 64, 100, 128, 256)
    return next((n for n in batches if not isinstance(_answer(signature, trial.rows(n)), str)), None)


_NOT_FINITE = "the answers are not finite"


def _with_integers(signature: ModelSignature, trial: ExampleRows) -> tuple[ExampleRows, str | None]:
    """Try rows; where an index lies beyond a table, shift the range of each input in turn until it does not."""
    outcome = _outcome(signature, trial)
    for _ in trial.recipes:
        beyond = BEYOND_TABLE.search(outcome or "")
        if beyond is None:
            break
        for shifted in _shifts(signature, trial):
            after = _outcome(signature, shifted)
            if after is None or not BEYOND_TABLE.search(after):
                return shifted, after
            if _table(after) != _table(outcome):  # another table: this one is settled
                trial, outcome = shifted, after
                break
    return trial, outcome


def _table(outcome: str | None) -> str:
    """The size of the table that an index lies beyond."""
    beyond = BEYOND_TABLE.search(outcome or "")
    return beyond[2] if beyond else ""


def _shifts(signature: ModelSignature, trial: ExampleRows) -> Iterator[ExampleRows]:
    """The trial with the range of one input moved to where its first index would be 0, for each input in turn."""
    for i, recipe in enumerate(trial.recipes):
        if recipe.values in ("booleans", "words", "text") or recipe.integers:
            continue
        low = math.floor(recipe.low if recipe.values == "integers" and recipe.low is not None else 0)
        one = _with_recipe(trial, i, recipe.model_copy(update={"values": "integers", "low": low, "high": low}))
        beyond = BEYOND_TABLE.search(_outcome(signature, one) or "")
        if beyond is None:
            continue
        start, size = low - int(beyond[1]), int(beyond[2])
        # Keras's Embedding lets negative indices wrap round: the range above is the one that is meant, if it fits too.
        for least in (start + size, start):
            integers = {"values": "integers", "low": least, "high": least + size - 1}
            yield _with_recipe(trial, i, recipe.model_copy(update=integers))


def _with_recipe(trial: ExampleRows, place: int, recipe: RowRecipe) -> ExampleRows:
    """The same rows but for one input."""
    return replace(trial, recipes=(*trial.recipes[:place], recipe, *trial.recipes[place + 1 :]))


def _outcome(signature: ModelSignature, trial: ExampleRows) -> str | None:
    """None where Keras answers the rows with finite numbers; else what it said."""
    count = _MANY_ROWS if all(math.prod(recipe.shape) <= _FEW_NUMBERS for recipe in trial.recipes) else _ROWS
    answered = _answer(signature, trial.rows(count))
    if isinstance(answered, str):
        return answered
    return None if answered.all() else f"{_NOT_FINITE} for {int((~answered).sum())} of {count} rows"


def _answer(signature: ModelSignature, rows: Mapping[str, Array]) -> Array | str:
    """For each row whether Keras answers it with finite numbers; or what Keras raised."""
    try:
        tensors = [
            keras.ops.convert_to_tensor(np.asarray(rows[spec.name]), dtype=spec.dtype) for spec in signature.inputs
        ]
        answer = keras.tree.flatten(signature.call(tensors, False))
        outputs = [keras.ops.convert_to_numpy(x) for x in answer if x is not None]
    except Exception as error:  # whatever a model that was never seen raises on rows that need not be valid
        return f"{message_of(error)} ({type(error).__name__})"
    finite = np.ones(len(outputs[0]) if outputs and outputs[0].ndim else 1, bool)
    for output in outputs:
        if output.ndim and len(output) == len(finite) and output.dtype.kind not in "OSU":
            values = output.astype(np.float64) if output.dtype.kind not in "biu" else output
            finite &= np.isfinite(values).reshape(len(finite), -1).all(axis=1) & (output.size > 0)
    return finite


def _first_guess(
    spec: InputSpec,
    length: int,
    interval: tuple[float, float] | None,
    table: int | None = None,
    pixel: float | None = None,
) -> RowRecipe:
    shape = tuple(length if n is None else n for n in spec.shape)
    if spec.dtype == "string":
        return RowRecipe(name=spec.name, shape=shape, dtype="string", values="words", words=("a", "b", "c", "d"))
    if spec.dtype == "bool":
        return RowRecipe(name=spec.name, shape=shape, dtype="bool", values="booleans")
    if table is not None or "int" in spec.dtype:
        last = table - 1 if table is not None else int(pixel or 1)
        return RowRecipe(name=spec.name, shape=shape, dtype=spec.dtype, values="integers", low=0, high=last)
    low, high = interval or ((None, None) if pixel is None else (0.0, pixel))
    kind: Any = "normal" if high is None else "uniform"
    return RowRecipe(name=spec.name, shape=shape, dtype=spec.dtype, values=kind, low=low, high=high)


def _make(recipe: RowRecipe, rows: int, draw: np.random.Generator) -> Array:
    shape = (rows, *recipe.shape)
    if recipe.values in ("words", "text"):
        return make_strings(shape, recipe.words, draw, sentences=recipe.values == "text")
    dtype = "float32" if "float" in recipe.dtype else recipe.dtype
    if recipe.values == "booleans":
        return draw.integers(0, 2, shape).astype(bool)
    if recipe.integers:
        return draw.choice(np.array(recipe.integers), shape).astype(dtype)
    if recipe.values == "normal" or recipe.low is None or recipe.high is None:
        return draw.standard_normal(shape).astype(dtype)
    if recipe.values == "integers":
        return draw.integers(int(recipe.low), int(recipe.high), shape, endpoint=True).astype(dtype)
    return draw.uniform(recipe.low, recipe.high, shape).astype(dtype)


def _known(model: Any, signature: ModelSignature) -> dict[str, dict[str, Any]]:
    """For inputs that a table looks up, what their recipe says of the words or integers that it knows."""
    graph = functional_graph(model)
    tensors = [None] * len(signature.inputs) if graph is None else graph.inputs
    found: dict[str, dict[str, Any]] = {}
    for spec, tensor in zip(signature.inputs, tensors, strict=True):
        if spec.dtype == "string":
            words, splits = known_words(graph, tensor)
            found[spec.name] = {"words": words, "values": "text" if splits else "words"}
        elif graph is not None and (integers := known_integers(graph, tensor)):
            found[spec.name] = {"values": "integers", "integers": integers[:_MOST_INTEGERS], "low": None, "high": None}
    return found


def _pixels(model: Any, signature: ModelSignature) -> dict[str, float | None]:
    """For inputs that are rescaled from pixels, the largest of them."""
    graph = functional_graph(model)
    if graph is None:
        return {}
    return {s.name: largest_pixel(graph, tensor) for s, tensor in zip(signature.inputs, graph.inputs, strict=True)}
