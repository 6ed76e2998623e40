"""The private names of Keras: a test fails once one has a public name, or is gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from thinned import HOME
from thinned.models.compat import keras as compat

L = keras.layers


@pytest.fixture(scope="module")
def model() -> Any:
    x = keras.Input((6, 4), name="x")
    hidden = L.MultiHeadAttention(2, 3, dropout=0.1, name="attention")(x, x)
    return keras.Model(x, L.Dense(2, name="y")(L.LSTM(3, dropout=0.2, name="lstm")(hidden)))


@pytest.mark.parametrize(
    ("place", "public"),
    [
        (keras, "Functional"),
        (keras.models, "Functional"),
        (keras.layers, "DropoutRNNCell"),
        (keras, "get_keras_mask"),
        (keras.utils, "get_keras_mask"),
        (keras.layers.Layer, "flatten_layers"),
        (keras.layers.Layer, "call_has_training_arg"),
        (keras.layers.MultiHeadAttention, "compute_attention"),
        (keras.layers.MultiHeadAttention, "dropout_layer"),
        (keras.layers.Attention, "apply_scores"),
        (keras.layers.SpatialDropout1D, "get_noise_shape"),
    ],
)
def test_there_is_still_no_public_name(place: Any, public: str) -> None:
    """When this fails, Keras has given it a public name: use that in `models/compat/keras.py`."""
    assert not hasattr(place, public)


def test_each_does_what_it_says(model: Any) -> None:
    names = [layer.name for layer in compat.flatten_layers(model)]
    assert {"x", "attention", "lstm", "y"} <= set(names)
    assert len(names) > 4  # the dropout and the dense layers inside attention, the cell of the LSTM
    assert [layer.name for layer in compat.inner_layers(model)] == ["x", "attention", "lstm", "y"]
    graph = compat.functional_graph(model)
    assert [node.operation.name for node in compat.nodes_in_order(graph)] == ["attention", "lstm", "y"]
    assert keras.tree.flatten(compat.inputs_structure(graph))[0] is graph.inputs[0]
    made = compat.producer(graph.outputs[0])
    assert (made.operation.name, made.node_index, made.tensor_index) == ("y", 0, 0)
    assert compat.producer(compat.input_tensors(made)[0]).operation.name == "lstm"
    attention = model.get_layer("attention")
    assert isinstance(compat.attention_dropout(attention), L.Dropout)
    assert compat.attention_einsum(attention).count(",") == 1
    assert callable(getattr(attention, compat.COMPUTE_ATTENTION))
    assert compat.takes_training(attention)
    assert not compat.takes_training(L.Flatten())
    assert isinstance(model.get_layer("lstm").cell, compat.DropoutRNNCell)
    assert compat.drops_attention_scores(L.Attention(dropout=0.1))
    assert callable(getattr(L.Attention(), compat.APPLY_SCORES))
    assert compat.is_augmentation(L.RandomFlip())
    assert not compat.is_augmentation(L.Rescaling(2.0))
    assert compat.layer_noise_shape(L.SpatialDropout1D(0.5), np.ones((2, 5, 3), "float32"))[1:] == (1, 3)
    assert compat.layer_noise_shape(L.Dropout(0.5), np.ones((2, 5), "float32")) is None
    normalisation = L.BatchNormalization()
    normalisation.build((None, 3))
    assert len(compat.non_trainable_variables(normalisation)) == 2


def test_time_distributed_still_takes_the_number_of_rows_for_the_unknown_length() -> None:
    """Once this fails, `layer_patching._fold_time` need not replace the call of layers that hold no site."""
    layer, x = L.TimeDistributed(L.Dense(2)), np.ones((2, 7, 3), "float32")
    right = layer(x).numpy()
    traced = tf.function(layer.call, input_signature=[tf.TensorSpec([None, None, 3])])
    assert traced(x).shape == (2, 2, 2)
    assert right.shape == (2, 7, 2)


def test_no_other_module_uses_a_private_name_of_a_library() -> None:
    """No import of `keras.src` and its like, no private attribute of a layer or graph, but in `models/compat`."""
    private_import = re.compile(r"keras\.src|tensorflow\.python|bentoml\._|_bentoml")
    keras_names = {
        node.attr
        for node in ast.walk(ast.parse(Path(compat.__file__).read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    assert {"_flatten_layers", "_functional", "_keras_history"} <= keras_names
    found = []
    for top in ("models", "service"):
        for path in (HOME / top).rglob("*.py"):
            if path.parent.name == "compat":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if any(private_import.match(name) for name in names):
                    found.append(f"{path}:{node.lineno}")
                if isinstance(node, ast.Attribute) and node.attr in keras_names:
                    found.append(f"{path}:{node.lineno} {node.attr}")
    assert not found
