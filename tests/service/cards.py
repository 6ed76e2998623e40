"""Cards of models that need not exist, for what looks at the card only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from thinned.models.card import InputSpec, ModelCard, OutputSpec, SplitSpec

IMAGE = InputSpec(name="image", shape=(2, 3), dtype="float32")
TOKENS = InputSpec(name="tokens", shape=(None,), dtype="int32")
SCALAR = InputSpec(name="scalar", shape=(), dtype="float32")
COLOUR = InputSpec(name="colour", shape=(1,), dtype="string", missing="[MASK]")
WORD = InputSpec(name="word", shape=(), dtype="string")
CODE = InputSpec(name="code", shape=(), dtype="int64", missing=-1)
ROOM = InputSpec(name="room", shape=(2,), dtype="int32", columns=("seats", "floor"), table_size=5)
CLASSES = OutputSpec(name="classes", shape=(4,), dtype="float32", task="classification", scale="probabilities")
VALUE = OutputSpec(name="value", shape=(1,), dtype="float32", task="regression")


def card(inputs: Sequence[InputSpec] = (IMAGE,), outputs: Sequence[OutputSpec] = (CLASSES,)) -> ModelCard:
    return ModelCard(
        name="drawn",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        sites=(),
        split=SplitSpec(prefix_layers=(), suffix_layers=(), frontier=()),
        sha256="0" * 64,
        keras_version="3",
        thinned_version="0",
        created=datetime.now(UTC),
    )
