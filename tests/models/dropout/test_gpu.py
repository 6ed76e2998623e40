"""What a GPU would find: graphs that it can run, and answers that are those of a CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from tests.zoo import FAMILIES, build
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.compiled_graphs import GraphKey

GPUS = tf.config.list_physical_devices("GPU")
OWNERS = ("one", "same draw", "several")
# They stand for what a caller gives, or for other graphs.
NO_KERNELS = ("Placeholder", "PartitionedCall", "StatefulPartitionedCall")
# While and If are taken apart when a graph is placed, so that only their bodies have kernels.
TAKEN_APART = ("While", "StatelessWhile", "If", "StatelessIf")


@cache
def kernels_of(operation: str) -> list[Any]:
    """Kernels of an operation that can run beside a GPU's: its own, and those for whatever device there is."""
    found = kernels.get_registered_kernels_for_op(operation).kernel
    return [kernel for kernel in found if kernel.device_type in ("GPU", "DEFAULT")]


def fits(kernel: Any, node: Any) -> bool:
    """Whether a kernel takes the types of a node."""
    for constraint in kernel.constraint:
        allowed = constraint.allowed_values.list.type
        value = node.attr[constraint.name]
        if allowed and not set(value.list.type or [value.type]) <= set(allowed):
            return False
    return True


def without_kernel(model: StochasticModel, key: GraphKey) -> set[str]:
    """Operations of a graph that only a CPU can run."""
    graph = model.graphs.get(key).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {
        node.op
        for node in nodes
        if node.op not in NO_KERNELS + TAKEN_APART and not any(fits(kernel, node) for kernel in kernels_of(node.op))
    }


@pytest.mark.skipif(not tf.sysconfig.get_build_info()["is_cuda_build"], reason="this TensorFlow has no kernels of GPUs")
@pytest.mark.parametrize("family", ["convolutional", "attention", "self_normalising"])
def test_all_that_passes_need_can_run_on_a_gpu(family: str) -> None:
    """Else masks would travel from the GPU to the CPU and back in every call."""
    model = enable_mc_dropout(build(family))
    assert without_kernel(model, GraphKey("prefix")) == set()
    for sampling in ("stratified", "independent"):
        for owners in OWNERS:
            assert without_kernel(model, GraphKey("from_frontier", sampling, owners)) == set()


def passes(device: str, family: str, weights: list[np.ndarray]) -> list[np.ndarray]:
    """40 passes of a family's model on a device, with these weights."""
    with tf.device(device):
        model = build(family)
        for variable, value in zip(model.variables, weights, strict=True):
            variable.assign(value)
        stochastic = enable_mc_dropout(model)
        inputs = stochastic.examples.rows(5, seed=2)
        return list(stochastic.sample(inputs, n_samples=40, seed=5).values())


@pytest.mark.skipif(not GPUS, reason="there is no GPU")
@pytest.mark.parametrize("family", [name for name in FAMILIES if not name.startswith("mixed")] if GPUS else [""])
def test_passes_of_a_gpu_are_those_of_a_cpu(family: str) -> None:
    """The random words are the same bits; sums are added up in another order."""
    weights = [variable.numpy() for variable in build(family).variables]
    for ours, expected in zip(passes("/GPU:0", family, weights), passes("/CPU:0", family, weights), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
