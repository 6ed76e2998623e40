"""With which `training` the layers that draw are called, in training and in prediction, and how they were built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy.typing as npt

from thinned.models.card import Finding
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.sites.custom_noise import is_registered
from thinned.models.dropout.sites.discovery import Site
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.dropout.stochastic_model import StochasticModel

__all__ = ["CallModes", "findings_of_dormant", "findings_of_modes", "watch_calls"]

Array = npt.NDArray[Any]
_KERAS = "Keras's functional API, arguments of a call"


@dataclass
class CallModes:
    """The `training` of every call of a site's layer, when the model trains and when it predicts."""

    in_training: list[bool | None] = field(default_factory=list)
    in_prediction: list[bool | None] = field(default_factory=list)


def watch_calls(model: StochasticModel, inputs: Mapping[str, Array]) -> dict[int, CallModes]:
    """Call the model both ways with its noise switched off, and note how the layers that draw are called.

    Args:
        model: The model; its variables are the same afterwards.
        inputs: By input name, (B, *input_shape); the first row is used.

    Returns:
        By `id` of each `SiteLayer`, active or not; nothing where the model cannot be called so.
    """
    sources = model.graphs.sites.sources
    modes = {id(source): CallModes() for source in sources}
    tensors = [keras.ops.convert_to_tensor(x[:1]) for x in model.flat(inputs)]
    with kept_variables(model.keras_model):
        for training in (True, False):
            try:
                with patched(model.keras_model, sources, lambda s, t=training: _Noting(modes[id(s)], t)):  # type: ignore[misc]
                    model.graphs.signature.call(tensors, training)
            except Exception:  # A model may be one that cannot be called outside a graph, or one that never trains.
                return {}
    return modes


class _Noting(NoNoise):
    """The `NoiseProvider` of a call that draws nothing and notes its `training`."""

    def __init__(self, modes: CallModes, training: bool) -> None:
        self._noted = modes.in_training if training else modes.in_prediction

    def record_call(self, training: bool | None) -> None:
        self._noted.append(training)


def findings_of_modes(sites: Sequence[Site], modes: Mapping[int, CallModes], built: set[int]) -> Iterator[Finding]:
    """Sites that draw when the model only predicts, or would; `built` are those that were built so."""
    for site in sites:
        path = site.spec.path
        known = modes.get(id(site.source), CallModes())
        if site.spec.forced and id(site.source.layer) in built:
            yield Finding(
                level="warning",
                code="built-with-training-true",
                site=path,
                text=f"{path} was built with training=True. Keras itself, up to 3.15.1, switches it off again in "
                "predict() and with training=False, and later versions do not: its own answers depend on its version.",
                reference=_KERAS,
                remedy="Build it without training=True; Thinned draws it when asked, and only then.",
            )
        elif any(known.in_prediction):
            yield Finding(
                level="warning",
                code="draws-when-predicting",
                site=path,
                text=f"{path} draws even when the model only predicts: {_why(site.source)}. predict() of Keras gives "
                "another answer each time; plain answers here leave its noise off.",
                reference="Keras, the argument training of a layer's call",
                remedy="Hand the argument training on to it, and train again; Thinned draws it when asked.",
            )


def _why(source: SiteLayer) -> str:
    if is_registered(source.layer) and "training" not in inspect.signature(type(source.layer).call).parameters:
        return "its call takes no argument training"
    return "the layer or model that holds it calls it with training=True, whatever it is told itself"


def findings_of_dormant(
    dormant: Sequence[SiteLayer], modes: Mapping[int, CallModes], paths: Mapping[int, str]
) -> Iterator[Finding]:
    """Sites that stay off: of rate 0, told that the model never trains, or never called."""
    for source in dormant:
        path = paths.get(id(source.layer), source.layer.name)
        known = modes.get(id(source))
        if source.active and known is not None:
            yield _stays_off(path, source, known)
        inside = source.kind.endswith("dropout") and source.kind != "Dropout"
        if not source.active and not inside and _has_rate_0(source):
            yield Finding(
                level="note",
                code="rate-0",
                site=path,
                text=f"{path} ({source.kind}) has a rate of 0 and draws nothing.",
                remedy="If it was meant to, give it a rate and train again.",
            )


def _stays_off(path: str, source: SiteLayer, known: CallModes) -> Finding:
    if known.in_training:
        return Finding(
            level="note",
            code="never-trains",
            site=path,
            text=f"{path} ({source.kind}) gets training=False even when the model trains: in fit() it draws nothing, "
            "and so it draws nothing in passes.",
            reference="Keras, the argument training of a layer's call",
            remedy="If it should draw, hand the argument training on to it in the call of the layer that holds it, and "
            "train again.",
        )
    return Finding(
        level="note",
        code="never-called",
        site=path,
        text=f"{path} ({source.kind}) belongs to the model, and the model never calls it: it draws nothing, neither in "
        "training nor in passes.",
        remedy="If it should draw, call it in the layer or model that holds it, and train again.",
    )


def _has_rate_0(source: SiteLayer) -> bool:
    """Whether the layer itself has a rate of 0; one that was registered as kept off is given a rate of 0 here."""
    if is_registered(source.layer):
        return bool(getattr(source.layer, "rate", None) == 0 or getattr(source.layer, "stddev", None) == 0)
    return source.rate == 0 or source.stddev == 0
