"""keras.applications without their trained weights, on images as small as each allows.

All 38 networks with their head of classes; of each family the smallest also without one (`include_top=False`). Where a
network has no dropout of its own, a dropout and a dense layer stand behind it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

L = keras.layers
SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
"""Sides of images that must be larger than 32 pixels."""
HEADLESS = (
    "Xception",
    "VGG16",
    "ResNet50",
    "ResNet50V2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "DenseNet121",
    "NASNetMobile",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
)


def calibrated(model: Any) -> Any:
    """The model, with moving averages of what it sees: without them a deep network's units are all dead."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, L.BatchNormalization)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(keras.random.normal((8, *model.inputs[0].shape[1:]), seed=6), training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return model


def with_head(name: str) -> Any:
    """The whole network, for ten classes."""
    side = SIZES.get(name, 32)
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=10)
    if any(getattr(layer, "rate", 0) or getattr(layer, "drop_path_rate", 0) for layer in model.layers):
        return model
    x = L.Dense(10, "softmax")(L.Dropout(0.3)(model.layers[-2].output))
    return keras.Model(model.inputs, x)


def headless(name: str) -> Any:
    """The network nested in a model of its own, behind augmentation and before a head: how it is used for transfer."""
    side = SIZES.get(name, 32)
    body = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(side, side, 3))
    inputs = keras.Input((side, side, 3))
    x = L.GlobalAveragePooling2D()(body(L.RandomFlip("horizontal")(inputs)))
    return keras.Model(inputs, L.Dense(4, "softmax")(L.Dropout(0.4)(x)))


NAMES = sorted(
    name
    for name, function in vars(keras.applications).items()
    if inspect.isfunction(function) and "include_top" in inspect.signature(function).parameters
)

APPLICATIONS: dict[str, Callable[[], Any]] = {name: lambda name=name: calibrated(with_head(name)) for name in NAMES} | {
    f"{name}_headless": lambda name=name: calibrated(headless(name)) for name in HEADLESS
}
