"""How each output of a model is to be read: its task, the scale of its numbers, its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from thinned.models.card import OutputSpec, Scale, Task
from thinned.models.errors import UnsupportedModelError

if TYPE_CHECKING:
    from thinned.models.dropout import OutputSignature

__all__ = ["PerOutput", "output_specs"]

T = TypeVar("T")

PerOutput = Mapping[str | None, T]
"""A choice for each output by name; the key None stands for every output that is not named."""


def output_specs(
    outputs: Sequence[OutputSignature],
    *,
    tasks: PerOutput[Task],
    labels: PerOutput[Sequence[str]],
    scale: PerOutput[Scale],
    levels: PerOutput[Sequence[float]] | None = None,
) -> tuple[OutputSpec, ...]:
    """Settle how each output is to be read.

    Raises:
        UnsupportedModelError: A choice names no output, a task is missing, labels or levels do not match the last axis,
            or the scale of a classification output is unclear.
    """
    levels = levels or {}
    names = [output.name for output in outputs]
    for what, choice in (("task", tasks), ("labels", labels), ("scale", scale), ("levels", levels)):
        for named in choice:
            if named is not None and named not in names:
                raise UnsupportedModelError(
                    f"--{what} names the output {named!r}; the model's outputs are {_join(names)}"
                )
    return tuple(
        _output_spec(
            output,
            task=_chosen_task(output, tasks),
            labels=labels.get(output.name, labels.get(None)),
            scale=scale.get(output.name, scale.get(None)),
            levels=levels.get(output.name, levels.get(None)),
            meant=len(outputs) == 1 or output.name in labels or output.name in scale,
        )
        for output in outputs
    )


def _chosen_task(output: OutputSignature, tasks: PerOutput[Task]) -> Task:
    task = tasks.get(output.name, tasks.get(None))
    if task is None:
        raise UnsupportedModelError(
            f"the output {output.name!r} has no task; add --task {output.name}=classification or "
            f"--task {output.name}=regression (there are also multilabel, gaussian and quantile)"
        )
    return task


def _output_spec(
    output: OutputSignature,
    *,
    task: Task,
    labels: Sequence[str] | None,
    scale: Scale | None,
    levels: Sequence[float] | None,
    meant: bool,
) -> OutputSpec:
    """`meant`: labels and a scale were given for this output, not for the classification outputs beside it."""
    if output.activation in ("argmax", "argmin"):
        raise UnsupportedModelError(
            f"the output {output.name!r} is an {output.activation}: numbers of classes, whose mean and variance over "
            "passes say nothing. End the model before it (keras.Model(model.inputs, the tensor that it reads)), and "
            "pass --task classification"
        )
    if levels is not None and task != "quantile" and meant:
        raise UnsupportedModelError(
            f"--levels are those of quantiles, and the output {output.name!r} is a {task}: leave them out, or pass "
            f"--task {output.name}=quantile"
        )
    if task in ("regression", "gaussian", "quantile"):
        if meant and (labels is not None or scale not in (None, "values")):
            what = "labels" if labels is not None else f"the scale {scale!r}"
            raise UnsupportedModelError(f"{what} given for a regression; leave it out, or pass --task classification")
        if task == "gaussian":
            _check_gaussian(output)
        elif task == "quantile":
            checked = _checked_levels(output, levels)
            return OutputSpec(name=output.name, shape=output.shape, dtype=output.dtype, task=task, levels=checked)
        elif scale != "values":
            _ask_of_softmax(output)
        return OutputSpec(name=output.name, shape=output.shape, dtype=output.dtype, task=task)
    read_as = _class_scale(output, task, scale)
    return OutputSpec(
        name=output.name,
        shape=output.shape,
        dtype=output.dtype,
        task=task,
        scale=read_as,
        labels=None if labels is None else _checked_labels(output, task, labels),
    )


def _ask_of_softmax(output: OutputSignature) -> None:
    """A softmax answers probabilities of classes: that these are wanted as numbers is said twice, or a mistake."""
    if output.activation == "softmax" and output.shape[-1] != 1:
        raise UnsupportedModelError(
            f"the output {output.name!r} is a softmax, whose numbers are probabilities of classes: pass "
            f"--task {output.name}=classification. If a regression on them is meant, say so with "
            f"--scale {output.name}=values"
        )


def _check_gaussian(output: OutputSignature) -> None:
    units = output.shape[-1] if output.shape else None
    if units is None or units % 2:
        raise UnsupportedModelError(
            f"the output {output.name!r} has shape {output.shape} for one row; --task gaussian needs a last axis of K "
            "means followed by K log-variances: concatenate the two, or pass --task regression"
        )
    if output.activation in ("softmax", "sigmoid", "relu", "softplus", "tanh"):
        raise UnsupportedModelError(
            f"the output {output.name!r} ends in {output.activation}, so it cannot hold the logarithm of any variance; "
            "end it in a linear layer, or pass another --task"
        )


def _checked_levels(output: OutputSignature, levels: Sequence[float] | None) -> tuple[float, ...]:
    units = output.shape[-1] if output.shape else None
    if levels is None:
        raise UnsupportedModelError(
            f"the output {output.name!r} holds quantiles: say of which levels, in the order of its last axis, as in "
            f"--levels {output.name}=0.05,0.5,0.95"
        )
    rising = all(a < b for a, b in pairwise(levels))
    if len(levels) < 2 or not rising or not all(0 < level < 1 for level in levels):
        raise UnsupportedModelError(
            f"--levels of the output {output.name!r}: expected two or more, ascending, between 0 and 1, received "
            f"{', '.join(map('{:g}'.format, levels))}"
        )
    if units != len(levels):
        raise UnsupportedModelError(
            f"the output {output.name!r} has shape {output.shape} for one row, and {len(levels)} levels were given; "
            "its last axis needs one entry a level"
        )
    if output.activation == "softmax":
        raise UnsupportedModelError(
            f"the output {output.name!r} is a softmax, whose numbers are probabilities of classes, not quantiles: pass "
            f"--task {output.name}=classification"
        )
    return tuple(levels)


def _class_scale(output: OutputSignature, task: Task, scale: Scale | None) -> Scale:
    units = output.shape[-1] if output.shape else None
    if units is None:
        raise UnsupportedModelError(
            f"the output {output.name!r} has shape {output.shape} for one row; {task} needs a last axis of a "
            "fixed number of classes: pass --task regression"
        )
    if output.activation is not None and output.activation.startswith("softmax over"):
        raise UnsupportedModelError(
            f"the output {output.name!r} is a {output.activation}, and {task} needs its classes on the last axis; move "
            "that axis last in the model (keras.layers.Permute, keras.ops.moveaxis) before the softmax, or pass "
            "--task regression"
        )
    if task == "classification" and output.activation == "sigmoid" and units > 1:
        raise UnsupportedModelError(
            f"the output {output.name!r} has {units} sigmoid units, that is, several labels at once, which is not "
            "classification; pass --task multilabel"
        )
    if task == "multilabel" and output.activation == "softmax":
        raise UnsupportedModelError(
            f"the output {output.name!r} is a softmax, whose probabilities are of one label out of {units}; "
            "pass --task classification"
        )
    if output.activation == "softmax" and units == 1:
        raise UnsupportedModelError(
            f"the output {output.name!r} is a softmax over one unit, which is always 1; give it one unit a class"
        )
    known: dict[str | None, Scale] = {"softmax": "probabilities", "sigmoid": "probabilities"}
    found = known.get(output.activation)
    if scale is None:
        if found is None:
            raise UnsupportedModelError(
                f"the output {output.name!r} ends in {output.activation or 'an unknown activation'}, so its numbers "
                "may be logits or probabilities; pass --scale logits or --scale probabilities"
            )
        return found
    if scale == "values" or (found is not None and scale != found):
        raise UnsupportedModelError(
            f"--scale {scale} does not fit the output {output.name!r}, which is a {task} that ends in "
            f"{output.activation or 'an unknown activation'}; leave --scale out or pass "
            f"{found or '--scale logits or probabilities'}"
        )
    return scale


def _checked_labels(output: OutputSignature, task: Task, labels: Sequence[str]) -> tuple[str, ...]:
    units = output.shape[-1]
    expected = 2 if units == 1 and task == "classification" else units
    if len(labels) != expected:
        raise UnsupportedModelError(
            f"the output {output.name!r} has {expected} classes, expected as many labels, received {len(labels)} "
            f"({_join(labels[:12]) or 'none'}); give them in the order of the last axis"
        )
    twice = sorted({label for label in labels if list(labels).count(label) > 1})
    if twice or "" in labels:
        wrong = f"{_join(twice)} more than once" if twice and twice != [""] else "an empty one"
        raise UnsupportedModelError(f"labels of the output {output.name!r}: received {wrong}; each class needs its own")
    return tuple(labels)


def _join(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
