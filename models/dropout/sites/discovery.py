"""Look at a model before it is served: where it draws noise, and what would make its answers untrue.

The evidence is the graph itself. The model is traced twice, never run: with `training=True`, where every known site
is switched off, so that any random operation left over belongs to a layer that nobody can arm; and with
`training=False`, where nothing may be random or write to a variable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from thinned.models.card import SiteSpec
from thinned.models.compat.keras import flatten_layers, inner_layers
from thinned.models.dropout.noise.noise_context import Call, Draw, Layout
from thinned.models.dropout.sites.custom_noise import sites_of
from thinned.models.dropout.sites.layer_patching import patched
from thinned.models.dropout.sites.noise_layers import NoiseShape, SiteLayer
from thinned.models.errors import UnknownNoiseError, UnsupportedModelError

__all__ = ["Site", "DiscoveredSites", "layer_paths", "discover_sites"]

Tensor = Any
_RANDOM = re.compile(
    r"Random|Multinomial|TruncatedNormal|StandardNormal|StatefulUniform|RngReadAndSkip|StatelessShuffle|Poisson"
)
_WRITES = re.compile(r"^Assign\w*VariableOp$|^ResourceScatter|^ResourceStridedSliceAssign")


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
    warnings: tuple[str, ...]
    layouts: Mapping[Call, Layout]
    """What is known before tracing of the calls of active sites."""

    @property
    def sources(self) -> list[SiteLayer]:
        """Every layer that could draw, active or not."""
        return [site.source for site in self.active] + list(self.dormant)


@dataclass
class CallRecorder:
    """Notes how a site is called in a trace, and draws nothing."""

    trainings: list[bool | None] = field(default_factory=list)
    shapes: list[tuple[int | None, ...]] = field(default_factory=list)
    """Of each call: the shape of a pass's noise for one row."""
    lengths: list[tuple[Tensor, bool]] = field(default_factory=list)
    """Of each call: the length of the first axis, and whether noise is shared along it."""

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        rank = len(x.shape)
        padded = (None,) * rank if noise_shape is None else ((1,) * rank + noise_shape)[-rank:]
        self.shapes.append(tuple(full if n is None else n for n, full in zip(padded[1:], x.shape[1:], strict=True)))
        self.lengths.append((tf.shape(x)[0], padded[0] == 1))
        return None

    def record_call(self, training: bool | None) -> None:
        self.trainings.append(training)

    def narrow(self) -> bool:
        return False


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
) -> DiscoveredSites:
    """Find the sites of `model`.

    Args:
        model: A built Keras model.
        signature: Shape and dtype of each input, rows first and of unknown number.
        call: `call(inputs, training)` applies the model.
        forced_in_graph: `id` of the layers that a functional graph calls with `training=True`.

    Raises:
        UnknownNoiseError: A layer draws noise that cannot be stochastic.
        UnsupportedModelError: The model cannot be traced, or writes to its variables when it only predicts.
    """
    paths = layer_paths(model)
    # Keras's own flattening turns the order inside each nested layer round; this order is the same at any depth.
    layers = {id(layer): layer for layer in flatten_layers(model)}
    sources = [source for key in paths for source in sites_of(layers[key])]
    training = {id(s): CallRecorder() for s in sources}
    inference = {id(s): CallRecorder() for s in sources}
    for witnesses, flag, when in ((training, True, "training"), (inference, False, "predicting")):
        claims = RandomOpAttribution(paths)
        traced = _trace(model, sources, witnesses, claims, signature, call, training_flag=flag)
        graph = traced.graph.as_graph_def()
        _refuse_unknown_noise(model, graph, claims, when=when)
    _refuse_writes(graph)
    layouts = _layouts(sources, [inference[id(s)] for s in sources], traced, signature)
    return _conclude(sources, training, inference, paths, forced_in_graph, layouts)


def _trace(
    model: Any,
    sources: Sequence[SiteLayer],
    witnesses: dict[int, CallRecorder],
    claims: RandomOpAttribution,
    signature: Sequence[tf.TensorSpec],
    call: Callable[[Sequence[Tensor], bool], Any],
    *,
    training_flag: bool,
) -> Any:
    def lengths(*inputs: Tensor) -> list[Tensor]:
        """Run the model, and give the first lengths of what meets its sites, as far as this graph reaches them."""
        call(inputs, training_flag)
        graph = tf.compat.v1.get_default_graph()
        met = [length for source in sources for length, _ in witnesses[id(source)].lengths]
        return [length if length.graph is graph else tf.constant(-1) for length in met]

    with patched(model, sources, lambda source: witnesses[id(source)], also=claims.watch):
        try:
            return tf.function(lengths, autograph=False).get_concrete_function(*signature)
        except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnsupportedModelError(
                f"The model could not be traced as a TensorFlow graph with training={training_flag}: {first} Expected "
                "a model that Keras itself can call on a batch of any number of rows; check it with model.predict()."
            ) from error


def _layouts(
    sources: Sequence[SiteLayer], witnesses: Sequence[CallRecorder], traced: Any, signature: Sequence[tf.TensorSpec]
) -> dict[Call, Layout]:
    """What is known of each call where all lengths are: found by running the model once, on two rows of zeros."""
    if any(n is None for spec in signature for n in spec.shape[1:]):
        return {}
    try:
        lengths = iter(traced(*(tf.zeros([2, *spec.shape[1:]], spec.dtype) for spec in signature)))
    except tf.errors.OpError:
        return {}  # zeros mean nothing to this model: its sites find out when they run
    layouts: dict[Call, Layout] = {}
    for number, (source, witness) in enumerate(zip(sources, witnesses, strict=True)):
        for n, (shape, (_, shared)) in enumerate(zip(witness.shapes, witness.lengths, strict=True)):
            folded, left = divmod(int(next(lengths)), 2)
            if folded < 1 or left or None in shape:
                continue
            units = (1 if shared else folded) * math.prod(shape)  # type: ignore[arg-type]
            layouts[Call(number, n)] = Layout(folded, units, source.rate if source.drops else None)
    return layouts


def _nodes(graph: Any) -> Iterable[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _refuse_unknown_noise(model: Any, graph: Any, claims: RandomOpAttribution, *, when: str) -> None:
    if not any(_RANDOM.search(node.op) for node in _nodes(graph)):
        return
    named = ", ".join(f"'{path}' ({cls})" for path, cls in sorted(claims.owners.items()))
    named = named or f"'{model.name}' ({type(model).__name__})"
    raise UnknownNoiseError(
        f"Layer {named} draws its own noise when {when}, in a way that cannot be replaced, so its share of the "
        "variance would be missing. Say how it draws with thinned.register_noise in the module given by --module "
        "(armed=None keeps it off), or build it from Keras's own Dropout, GaussianDropout or GaussianNoise layers."
    )


class RandomOpAttribution:
    """Finds out whose call put a random operation into the graph: the innermost layer that was running."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.owners: dict[str, str] = {}
        self._paths = paths
        self._claimed: set[int] = set()

    def watch(self, layer: Any) -> Callable[..., Any]:
        """`layer.call`, which notes the random operations that it leaves behind."""
        call = layer.call

        def watched(*args: Any, **kwargs: Any) -> Any:
            graph = tf.compat.v1.get_default_graph()
            before = len(graph.get_operations())
            result = call(*args, **kwargs)
            for operation in graph.get_operations()[before:]:
                if _RANDOM.search(operation.type) and id(operation) not in self._claimed:
                    self._claimed.add(id(operation))
                    self.owners[self._paths.get(id(layer), layer.name)] = type(layer).__name__
            return result

        return watched


def _refuse_writes(graph: Any) -> None:
    writes = sorted({node.name.rsplit("/", 1)[0] for node in _nodes(graph) if _WRITES.match(node.op)})
    if writes:
        raise UnsupportedModelError(
            f"The model changes a variable when it only predicts (at {', '.join(writes)}), so one request would change "
            "the answer to the next. Build recurrent layers with stateful=False, and call BatchNormalization without "
            "training=True."
        )


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
        witness = training[id(source)]
        path = paths.get(id(source.layer), source.layer.name)
        if not source.active or not witness.shapes:
            dormant.append(source)
            continue
        if not any(witness.trainings):
            dormant.append(source)
            warnings.append(f"{path} ({source.kind}) gets training=False even when the model trains: it stays off.")
            continue
        forced = id(source.layer) in forced_in_graph or any(inference[id(source)].trainings)
        if forced:
            warnings.append(f"{path} ({source.kind}) was built with training=True; deterministic answers leave it off.")
        if source.rate is not None and source.rate >= 1:
            warnings.append(f"{path} ({source.kind}) has rate {source.rate:g}: it drops every unit in every pass.")
        active.append(Site(number, source, _spec(source, witness, path, forced)))
    numbers = {site.number for site in active}
    known = {call: layout for call, layout in layouts.items() if call.site in numbers}
    return DiscoveredSites(tuple(active), tuple(dormant), tuple(warnings), known)


def _spec(source: SiteLayer, witness: CallRecorder, path: str, forced: bool) -> SiteSpec:
    return SiteSpec(
        path=path,
        kind=source.kind,
        rate=source.rate,
        stddev=source.stddev,
        shape=witness.shapes[0],
        calls=len(witness.shapes),
        forced=forced,
    )
