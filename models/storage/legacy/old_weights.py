"""Weights of a layer as earlier Keras kept them, put as its layer in Keras 3 keeps them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinned.models.storage.legacy.built import Built
from thinned.models.storage.legacy.hdf5_reader import Array

__all__ = ["as_keras_3"]

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")
# Keras 1 kept a matrix for each gate: of input, recurrence and bias, in this order of gates; Keras 2 joins them.
_GATES = {12: (0, 2, 1, 3), 9: (0, 1, 2)}


def as_keras_3(built: Built, arrays: Sequence[Array], major: int, backend: str | None) -> list[Array]:
    """The weights of one layer in the order, layout and orientation of Keras 3.

    Args:
        built: The layer, which is no model.
        arrays: Its weights in the file.
        major: Of the version of Keras that wrote them.
        backend: The backend that they were trained with.

    Returns:
        As many arrays as given, or fewer where Keras 1 kept one for each gate.
    """
    if built.class_name in ("CuDNNLSTM", "CuDNNGRU") and len(arrays) == 3:
        return _from_cudnn(built.class_name, arrays)
    name = type(built.layer).__name__
    if major < 2:
        if name == "Bidirectional" and len(arrays) % 2 == 0:
            half = len(arrays) // 2
            return [*_joined(arrays[:half]), *_joined(arrays[half:])]
        if name in ("LSTM", "GRU"):
            return _joined(arrays)
        arrays = _keras_1_kernel(built, name, arrays)
    if backend == "theano" and name in _CONVOLUTIONS and arrays:
        kernel = arrays[0]  # Theano convolves; TensorFlow correlates
        return [np.flip(kernel, axis=tuple(range(kernel.ndim - 2))), *arrays[1:]]
    return list(arrays)


def _joined(arrays: Sequence[Array]) -> list[Array]:
    order = _GATES.get(len(arrays))
    if order is None:
        return list(arrays)
    return [np.concatenate([arrays[3 * gate + part] for gate in order], axis=-1) for part in range(3)]


def _keras_1_kernel(built: Built, name: str, arrays: Sequence[Array]) -> Sequence[Array]:
    """Kernels of convolutions, whose axes Keras 1 ordered otherwise: filters first for channels first."""
    if name not in ("Conv1D", "Conv2D", "Conv3D") or not arrays:
        return arrays
    kernel, rest = arrays[0], arrays[1:]
    if name == "Conv1D" and kernel.ndim == 4:
        kernel = kernel[:, 0] if kernel.shape[1] == 1 else np.transpose(kernel, (2, 3, 1, 0))[:, 0]
    elif name != "Conv1D" and built.layer.data_format == "channels_first":
        kernel = np.transpose(kernel, (*range(2, kernel.ndim), 1, 0))
    return [kernel, *rest]


def _from_cudnn(class_name: str, arrays: Sequence[Array]) -> list[Array]:
    """Of CuDNN's own layers: each gate's kernel lies transposed in memory, and there are two biases for each gate."""
    gates = 4 if class_name == "CuDNNLSTM" else 3
    kernel, recurrent, bias = arrays
    kernel = np.hstack([part.reshape(part.shape[::-1]).T for part in np.hsplit(kernel, gates)])
    recurrent = np.hstack([part.T for part in np.hsplit(recurrent, gates)])
    halves = bias.reshape(2, -1)
    return [kernel, recurrent, halves.sum(axis=0) if class_name == "CuDNNLSTM" else halves]
