"""What every model goes through before it is stored: its laws are proven, and its card says what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from thinned.models.card import OutputSpec, ShortAudit
from thinned.models.compat.messages import message_of
from thinned.models.errors import ThinnedError, UnsupportedModelError

if TYPE_CHECKING:
    from thinned.models.dropout import ExampleRows, StochasticModel
    from thinned.models.storage.expectation import Expectation

__all__ = ["NO_SITES", "as_refusals", "kept_rows", "prove", "short_audit", "warnings_of", "with_estimators"]

_KEPT_ROWS = 8
_KEPT_BYTES = 32 << 20
log = logging.getLogger(__name__)

NO_SITES = (
    "no active noise site was found (no dropout, or its rate is 0): deterministic answers are served, "
    "Monte Carlo requests are refused because their variance would be 0; --insert-dropout puts dropout where you say"
)


def prove(
    model: StochasticModel, keras_model: Any, on_step: Callable[[str], None], *, expected: Expectation | None = None
) -> tuple[str, ...]:
    """Compare a model's answers with Keras's, and check what holds for its passes.

    Args:
        model: The model.
        keras_model: The same, as Keras has it.
        on_step: Called with what is done next, in words.
        expected: Recorded answers that it must give again.

    Returns:
        What holds, but a person should know.

    Raises:
        UnsupportedModelError: A law does not hold; the text says which.
    """
    # Not before: refusing a file takes no TensorFlow.
    from thinned.models.dropout import check_against_keras, check_laws, check_rows, check_untouched

    on_step("Comparing its answers with Keras's")
    if expected is not None:
        expected.check(model)
    check_rows(model)
    noted = check_untouched(model, keras_model)
    check_against_keras(model, model.examples.rows(1))
    on_step("Proving what holds for its passes")
    return noted + check_laws(model)


@contextmanager
def as_refusals() -> Iterator[None]:
    """Whatever Keras and TensorFlow raise on a model that they cannot run as it is asked to, as one sentence."""
    try:
        yield
    except (ThinnedError, MemoryError):
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"the model cannot be run: {message_of(error)} ({type(error).__name__}). Expected a model that "
            "model.predict(rows) answers for any number of rows, of the shapes that its inputs name"
        ) from error


def with_estimators(model: StochasticModel, outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """The outputs with what their mean and variance are made of; of a model that draws no noise as they are."""
    if not model.has_passes:
        return tuple(outputs)
    made, reasons = model.made, model.reasons
    return tuple(
        o.model_copy(update={"estimator": made[o.name], "estimator_note": reasons[o.name] or None}) for o in outputs
    )


def kept_rows(examples: ExampleRows) -> Mapping[str, npt.NDArray[Any]] | None:
    """A few of the user's own rows, to be stored beside the model."""
    if examples.given is None:
        return None
    size = sum(x[:1].nbytes for x in examples.given.values())
    count = max(1, min(_KEPT_ROWS, _KEPT_BYTES // max(size, 1)))
    return {name: x[:count] for name, x in examples.given.items()}


def short_audit(model: StochasticModel, outputs: Sequence[OutputSpec]) -> ShortAudit | None:
    """The audit that a card holds. An audit explains a model; that it fails is no reason to refuse one."""
    from thinned.models.audit.run import audit

    classes = [output.name for output in outputs if output.task == "classification"]
    try:
        return audit(model, classes=classes, short=True).short()
    except Exception as error:  # a MemoryError too
        log.warning("the model could not be audited: %s", message_of(error))
        return None


def warnings_of(model: StochasticModel, outputs: Sequence[OutputSpec]) -> tuple[str, ...]:
    """What a person should know of a model's sites and outputs."""
    found = tuple(model.warnings) + tuple(
        f"Output '{output.name}' has dropout behind its {output.activation}: the numbers of a pass need not lie "
        "below 1 or sum to 1, and their entropies are not those of a distribution. Put the dropout before it."
        for output, spec in zip(model.outputs, outputs, strict=True)
        if output.noise_behind and spec.scale == "probabilities"
    )
    return found if model.has_passes or NO_SITES in found else (*found, NO_SITES)
