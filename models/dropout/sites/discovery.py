"""Look at a model before it is served: where it draws noise, and what would make its answers untrue.

The evidence is the graph itself. The model is traced twice: with `training=True`, where every known site is switched
off, so that any random operation left over belongs to a layer that nobody can replace; and with `training=False`, where
nothing may be random or write to a variable. Example rows are run through these graphs only to see where the rows are
in what meets the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.card import SiteSpec
from thinned.models.compat.keras import flatten_layers, inner_layers
from thinned.models.compat.messages import message_of
from thinned.models.compat.tensorflow import runs_once
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.noise.noise_context import Call, Draw, Layout
from thinned.models.dropout.noise.row_layout import RowAxis, find_row_axis, padded_noise_shape, run_three_ways
from thinned.models.dropout.sites.custom_noise import own_noise, sites_of
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import NoiseShape, RandomKind, SiteLayer
from thinned.models.dropout.sites.trace_checks import (
    RandomOpAttribution,
    refuse_repeated,
    refuse_undefined_plain_answer,
    refuse_unknown_noise,
    refuse_writes,
)
from thinned.models.errors import UnsupportedModelError

__all__ = ["Site", "DiscoveredSites", "layer_paths", "discover_sites"]

Tensor = Any
_OUT_OF_REACH = -1234567.0
"""Stands for what the body of a loop or of another function holds."""


@dataclass(frozen=True)
class Site:
    """An active site: the layer, the number that its noise is keyed by, and its line in the card."""

    number: int
    source: SiteLayer
    spec: SiteSpec


@dataclass(frozen=True)
class DiscoveredSites:
    """All sites of a model; `dormant` ones are known but never draw, and are kept off."""

    active: tuple[Site, ...]
    dormant: tuple[SiteLayer, ...]
    carriers: tuple[tuple[int, SiteLayer], ...]
    """Custom layers without noise of their own, with a number: they hold sites that they call only when they train."""
    warnings: tuple[str, ...]
    layouts: Mapping[Call, Layout]
    """What is known before tracing of the calls of active sites."""

    @property
    def rowless(self) -> bool:
        """Whether noise meets a tensor that has no rows: then passes are drawn one after the other."""
        return any(layout.rows is None for layout in self.layouts.values())

    @property
    def sources(self) -> list[SiteLayer]:
        """Every layer that could draw, active or not, and what must be called as when it trains."""
        return [site.source for site in self.active] + list(self.dormant) + [source for _, source in self.carriers]

    @property
    def numbers(self) -> dict[int, int]:
        """Of every source that has a part in drawing, by its `id`: the number that its noise is keyed by."""
        return {id(site.source): site.number for site in self.active} | {id(s): n for n, s in self.carriers}


@dataclass
class CallRecorder(NoNoise):
    """The `NoiseProvider` of a trace that only looks: it notes how a site is called, and draws nothing."""

    trainings: list[bool | None] = field(default_factory=list)
    shapes: list[tuple[int | None, ...]] = field(default_factory=list)
    """Of each call: the shape of a pass's noise for one row."""
    graph: Any = None
    """The graph of the trace, outermost."""
    repeated: bool = False
    """Whether a call stands where it may run several times in one run: in a loop, a map, or another function."""
    met: list[tuple[Tensor, bool]] = field(default_factory=list)
    """Of each call: the tensor that meets the noise, and whether noise is shared along its first axis; for numbers that
    a random function asks for, their shape."""
    kinds: list[RandomKind | None] = field(default_factory=list)
    """Of each call: which numbers a random function asks for; None for a law's."""

    def reaches_more_than(self, other: CallRecorder) -> bool:
        """Whether there are calls that the other trace has not, or that only random functions make."""
        return len(self.met) > len(other.met) or any(kind is not None for kind in self.kinds)

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        self.repeated |= not runs_once(tf.compat.v1.get_default_graph(), self.graph)
        padded = padded_noise_shape(noise_shape, len(x.shape))
        self.shapes.append(tuple(full if n is None else n for n, full in zip(padded[1:], x.shape[1:], strict=True)))
        self.met.append((x, padded[0] == 1))
        self.kinds.append(None)
        return None

    def fill(self, kind: RandomKind, shape: Tensor) -> Tensor:
        self.repeated |= not runs_once(tf.compat.v1.get_default_graph(), self.graph)
        known = tf.get_static_value(shape, partial=True)
        lengths = [None] * (shape.shape[0] or 0) if known is None else [None if n is None else int(n) for n in known]
        self.shapes.append(tuple(lengths[1:]))
        self.met.append((tf.convert_to_tensor(shape), False))
        self.kinds.append(kind)
        return super().fill(kind, shape)

    def record_call(self, training: bool | None) -> None:
        self.trainings.append(training)


def layer_paths(model: Any) -> dict[int, str]:
    """The name of each layer, by `id`, with the layers that hold it: `encoder/attention/dropout`."""
    paths: dict[int, str] = {}

    def walk(layer: Any, prefix: str) -> None:
        for inner in inner_layers(layer):
            if id(inner) not in paths:
                paths[id(inner)] = prefix + inner.name
                walk(inner, prefix + inner.name + "/")

    walk(model, "")
    return paths


def discover_sites(
    model: Any,
    signature: Sequence[tf.TensorSpec],
    call: Callable[[Sequence[Tensor], bool], Any],
    forced_in_graph: set[int],
    examples: Sequence[Tensor],
) -> DiscoveredSites:
    """Find the sites of `model`.

    Args:
        model: A built Keras model.
        signature: Shape and dtype of each input, rows first and of unknown number.
        call: `call(inputs, training)` applies the model.
        forced_in_graph: `id` of the layers that a functional graph calls with `training=True`.
        examples: Three rows of each input.

    Raises:
        UnknownNoiseError: A layer draws noise that cannot be stochastic.
        UnsupportedModelError: The model cannot be traced, or writes to its variables when it only predicts.
    """
    paths = layer_paths(model)
    # Keras's own flattening turns the order inside each nested layer round; this order is the same at any depth.
    layers = {id(layer): layer for layer in flatten_layers(model)}
    sources = [source for key in paths for source in sites_of(layers[key])]
    sources += [source for layer in [model, *(layers[key] for key in paths)] if (source := own_noise(layer))]
    training = {id(s): CallRecorder() for s in sources}
    inference = {id(s): CallRecorder() for s in sources}
    traces = []
    for recorders, flag, when in ((training, True, "training"), (inference, False, "predicting")):
        attribution = RandomOpAttribution(paths)
        traces.append(_trace(model, sources, recorders, attribution, signature, call, training_flag=flag))
        graph = traces[-1].graph.as_graph_def()
        refuse_unknown_noise(model, graph, attribution, when=when)
    refuse_writes(graph)
    for source in sources:
        if source.own_noise and "uniform" in inference[id(source)].kinds:
            refuse_undefined_plain_answer(paths.get(id(source.layer), source.layer.name), source)
    layouts = _layouts(sources, inference, traces[1], signature, examples)
    more = [s for s in sources if training[id(s)].reaches_more_than(inference[id(s)])]
    if more:  # what is reached only when training; running that may change variables
        with kept_variables(model, trainable=False):
            found = _layouts(sources, training, traces[0], signature, examples)
        numbers = {number for number, source in enumerate(sources) if any(source is s for s in more)}
        layouts |= {call: layout for call, layout in found.items() if call.site in numbers}
    return _conclude(sources, training, inference, paths, forced_in_graph, layouts)


def _trace(
    model: Any,
    sources: Sequence[SiteLayer],
    recorders: dict[int, CallRecorder],
    attribution: RandomOpAttribution,
    signature: Sequence[tf.TensorSpec],
    call: Callable[[Sequence[Tensor], bool], Any],
    *,
    training_flag: bool,
) -> Any:
    def met(*inputs: Tensor) -> list[Tensor]:
        """Run the model, and give what meets its sites, as far as this graph reaches it."""
        graph = tf.compat.v1.get_default_graph()
        for recorder in recorders.values():
            recorder.graph = graph
        call(inputs, training_flag)
        found = [x for source in sources for x, _ in recorders[id(source)].met]
        return [tf.identity(x) if x.graph is graph else tf.constant(_OUT_OF_REACH) for x in found]

    with patched(model, sources, lambda source: recorders[id(source)], also=attribution.watch):
        try:
            return tf.function(met, autograph=False).get_concrete_function(*signature)
        except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
            free = any(None in spec.shape[1:] for spec in signature)
            raise UnsupportedModelError(
                f"The model could not be traced as a TensorFlow graph with training={training_flag}: "
                f"{message_of(error)} Expected a model that Keras itself can call on a batch of any number of rows; "
                + ("fix the lengths that it leaves open (--input-shape)." if free else "check it with model.predict().")
            ) from error


def _layouts(
    sources: Sequence[SiteLayer],
    recorders: Mapping[int, CallRecorder],
    traced: Any,
    signature: Sequence[tf.TensorSpec],
    examples: Sequence[Tensor],
) -> dict[Call, Layout]:
    """What is known of each call: found by running the model on two rows, on the same two turned round, and on three.

    Lengths are known only where the model leaves none open.
    """
    fixed = not any(n is None for spec in signature for n in spec.shape[1:])
    try:
        pair, swapped, three = run_three_ways(traced, examples)
    except tf.errors.OpError:
        return {}  # the rows mean nothing to this model: its sites find out when they run
    layouts: dict[Call, Layout] = {}
    values = iter(zip(pair, swapped, three, strict=True))
    for number, source in enumerate(sources):
        recorder = recorders[id(source)]
        for n, (shape, (_, shared), kind) in enumerate(zip(recorder.shapes, recorder.met, recorder.kinds, strict=True)):
            two, turned, more = next(values)
            if two.shape == () and two == _OUT_OF_REACH:
                continue
            if kind is not None:  # a shape itself
                layouts[Call(number, n)] = Layout(find_row_axis(np.zeros(two), np.zeros(turned), more.tolist()))
                continue
            rows = find_row_axis(two, turned, more.shape)
            layouts[Call(number, n)] = _layout(rows, two, shape, shared, source) if fixed else Layout(rows)
    return layouts


def _layout(
    rows: RowAxis | None, pair: npt.NDArray[Any], shape: tuple[int | None, ...], shared: bool, source: SiteLayer
) -> Layout:
    """The layout of a call that has the same lengths whatever the rows."""
    if rows is None:
        return Layout(None)
    folded = pair.shape[rows.axis] // 2
    known = [n for n in shape if n is not None]
    if rows.axis or len(known) < len(shape):
        return Layout(rows, folded)
    return Layout(rows, folded, (1 if shared else folded) * math.prod(known), source.rate if source.drops else None)


def _conclude(
    sources: Sequence[SiteLayer],
    training: dict[int, CallRecorder],
    inference: dict[int, CallRecorder],
    paths: dict[int, str],
    forced_in_graph: set[int],
    layouts: dict[Call, Layout],
) -> DiscoveredSites:
    active: list[Site] = []
    dormant: list[SiteLayer] = []
    warnings: list[str] = []
    for number, source in enumerate(sources):
        recorder = training[id(source)]
        path = paths.get(id(source.layer), source.layer.name)
        if not source.active or not recorder.shapes:
            if not source.own_noise or recorder.shapes:
                dormant.append(source)
            continue
        if not any(recorder.trainings):
            dormant.append(source)
            warnings.append(f"{path} ({source.kind}) gets training=False even when the model trains: it stays off.")
            continue
        if recorder.repeated and not source.held:
            refuse_repeated(path, source)
        always = inference[id(source)]
        forced = id(source.layer) in forced_in_graph or (any(always.trainings) and bool(always.shapes))
        if forced and (source.own_noise or source.base is not None):
            warnings.append(
                f"{path} ({source.kind}) draws even when the model only predicts; deterministic answers leave it off"
                + (", its normal numbers at 0." if "normal" in always.kinds else ".")
            )
        elif forced:
            warnings.append(f"{path} ({source.kind}) was built with training=True; deterministic answers leave it off.")
        if source.rate is not None and source.rate >= 1:
            warnings.append(f"{path} ({source.kind}) has rate {source.rate:g}: it drops every unit in every pass.")
        active.append(Site(number, source, _spec(source, recorder, path, forced)))
    numbers = {site.number for site in active}
    known = {call: layout for call, layout in layouts.items() if call.site in numbers}
    late = {
        id(site.source.layer)
        for site in active
        if len(training[id(site.source)].met) > len(inference[id(site.source)].met) and not site.source.own_noise
    }
    carriers = tuple(
        (number, source)
        for number, source in enumerate(sources)
        if source.own_noise and number not in numbers and any(id(i) in late for i in flatten_layers(source.layer))
    )
    return DiscoveredSites(tuple(active), tuple(dormant), carriers, tuple(warnings), known)


def _spec(source: SiteLayer, recorder: CallRecorder, path: str, forced: bool) -> SiteSpec:
    return SiteSpec(
        path=path,
        kind=source.kind,
        rate=source.rate,
        stddev=source.stddev,
        shape=recorder.shapes[0],
        calls=len(recorder.shapes),
        forced=forced,
    )
