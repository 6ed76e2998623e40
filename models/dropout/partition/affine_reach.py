"""How tensors of a traced graph reach its outputs: not at all, by affine operations alone, or by others too.

Operations are known by what they compute, not by the layers that they come from. One that is not listed here counts as
not affine, and so does a product in which both sides depend on the tensor, or whose other side depends on anything that
the graph is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["Reach", "reaches", "target_of"]

Tensor = Any
Reach = Literal["none", "affine", "other"]

# Operations that are linear in some of their inputs, by the numbers of these; None: in all of them.
_LINEAR: Mapping[str, tuple[int, ...] | None] = {
    **dict.fromkeys(
        ("Add", "AddN", "AddV2", "BiasAdd", "Identity", "IdentityN", "Neg", "Pack", "StopGradient", "Sub", "Unpack"),
        None,
    ),
    **dict.fromkeys(
        (
            "AvgPool",
            "AvgPool3D",
            "BatchToSpaceND",
            "BroadcastTo",
            "Cast",
            "Cumsum",
            "DepthToSpace",
            "EnsureShape",
            "ExpandDims",
            "GatherNd",
            "GatherV2",
            "Mean",
            "MirrorPad",
            "Pad",
            "Reshape",
            "ResizeBilinear",
            "ResizeNearestNeighbor",
            "ReverseV2",
            "Roll",
            "Slice",
            "SpaceToBatchND",
            "SpaceToDepth",
            "SplitV",
            "Squeeze",
            "StridedSlice",
            "Sum",
            "Tile",
            "Transpose",
        ),
        (0,),
    ),
    "Split": (1,),
}
# Operations that are linear in one of these inputs where all others are constant.
_PRODUCTS: Mapping[str, tuple[int, ...]] = {
    "BatchMatMulV2": (0, 1),
    "BatchMatMulV3": (0, 1),
    "Conv2D": (0,),
    "Conv2DBackpropInput": (2,),
    "Conv3D": (0,),
    "DepthwiseConv2dNative": (0,),
    "Einsum": (0, 1),
    "FusedBatchNormV3": (0,),
    "MatMul": (0, 1),
    "Mul": (0, 1),
    "RealDiv": (0,),
}
_OF_SHAPES = ("OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike")


def reaches(graph: Any, sources: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[list[Reach]]:
    """How each source reaches each output of a traced graph.

    Args:
        graph: The graph of a concrete function. What it captures (variables) is constant, what it is given is not.
        sources: Tensors; one that is of another graph (the body of a loop) is taken to reach everything.
        outputs: Tensors of the graph.

    Returns:
        For each source a list, an entry for each output.
    """
    captured = {id(tensor) for tensor in graph.internal_captures}
    given = [tensor for tensor in graph.inputs if id(tensor) not in captured]
    # Each is asked for its tensors once: that takes longer than to follow a source.
    every = [
        _Operation(operation, [t.ref() for t in operation.inputs], [t.ref() for t in operation.outputs])
        for operation in graph.get_operations()  # in the order in which they were made: inputs come first
    ]
    operations = [operation for operation in every if operation.made.type not in _OF_SHAPES]
    varying = _varying(every, given)
    found: list[list[Reach]] = []
    for source in sources:
        if source.graph is not graph:
            found.append(["other"] * len(outputs))
            continue
        states = _followed(operations, source, varying)
        found.append([states.get(output.ref(), "none") for output in outputs])
    return found


def target_of(output: Tensor) -> tuple[Tensor, Literal["softmax", "sigmoid"] | None]:
    """What a softmax over the last axis, or a sigmoid, at the end of a graph takes; the output itself without one."""
    operation = output.op
    while operation.type in ("Cast", "Identity"):
        operation = operation.inputs[0].op
    if operation.type == "Softmax":
        return operation.inputs[0], "softmax"
    if operation.type == "Sigmoid":
        return operation.inputs[0], "sigmoid"
    return output, None


class _Operation(NamedTuple):
    made: Any
    inputs: list[Any]
    outputs: list[Any]


def _varying(operations: Sequence[_Operation], given: Sequence[Tensor]) -> set[Any]:
    """All tensors that depend on what the graph is given, were it only on its lengths."""
    found = {tensor.ref() for tensor in given}
    for _, inputs, outputs in operations:
        if any(ref in found for ref in inputs):
            found.update(outputs)
    return found


def _followed(operations: Sequence[_Operation], source: Tensor, varying: set[Any]) -> dict[Any, Reach]:
    states: dict[Any, Reach] = {source.ref(): "affine"}
    for operation, inputs, outputs in operations:
        if any(ref in states for ref in inputs) and operation is not source.op:
            reached: list[Reach] = [states.get(ref, "none") for ref in inputs]
            state: Reach = "affine" if _is_affine(operation, reached, varying) else "other"
            states.update(dict.fromkeys(outputs, state))
    return states


def _is_affine(operation: Any, inputs: Sequence[Reach], varying: set[Any]) -> bool:
    reached = [i for i, state in enumerate(inputs) if state != "none"]
    if any(inputs[i] == "other" for i in reached):
        return False
    if not all(tensor.dtype.is_floating for tensor in (*operation.outputs, operation.inputs[reached[0]])):
        return False
    if operation.type == "ConcatV2":
        return len(inputs) - 1 not in reached
    if operation.type in _LINEAR:
        linear = _LINEAR[operation.type]
        return linear is None or all(i in linear for i in reached)
    if operation.type not in _PRODUCTS or len(reached) > 1 or reached[0] not in _PRODUCTS[operation.type]:
        return False
    if operation.type == "FusedBatchNormV3" and operation.get_attr("is_training"):
        return False
    others = (tensor for i, tensor in enumerate(operation.inputs) if i != reached[0])
    return not any(tensor.ref() in varying for tensor in others)
