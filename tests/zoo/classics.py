"""Classical networks over images, codes, graphs and points, as books and the documentation of Keras describe them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

L, ops = keras.layers, keras.ops


@keras.saving.register_keras_serializable("classics")
class Sampling(L.Layer):
    """The code of a variational autoencoder."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(4)

    def call(self, inputs: Any, training: Any = None) -> Any:
        mean, log_variance = inputs
        if not training:
            return mean
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


@keras.saving.register_keras_serializable("classics")
class Patches(L.Layer):
    """A class token, patches and positions, of a vision transformer."""

    def __init__(self, size: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.width = size, width
        self.project = L.Dense(width)

    def build(self, shape: Any) -> None:
        count = (shape[1] // self.size) * (shape[2] // self.size)
        self.project.build((None, count, self.size * self.size * shape[3]))
        self.token = self.add_weight(shape=(1, 1, self.width), name="token")
        self.positions = self.add_weight(shape=(1, count + 1, self.width), name="positions")

    def call(self, images: Any) -> Any:
        rows = ops.shape(images)[0]
        cut = ops.image.extract_patches(images, self.size)
        flat = self.project(ops.reshape(cut, (rows, -1, cut.shape[-1])))
        return ops.concatenate([ops.tile(self.token, (rows, 1, 1)), flat], axis=1) + self.positions

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "width": self.width}


@keras.saving.register_keras_serializable("classics")
class Squash(L.Layer):
    """Capsules: a vector's length becomes a probability, its direction stays."""

    def call(self, x: Any) -> Any:
        square = ops.sum(x**2, axis=-1, keepdims=True)
        return x * ops.sqrt(square) / (1 + square)


@keras.saving.register_keras_serializable("classics")
class Routing(L.Layer):
    """Dynamic routing between capsules, three rounds in a Python loop."""

    def __init__(self, capsules: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.capsules, self.width, self.squash = capsules, width, Squash()

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[1], self.capsules, shape[2], self.width), name="kernel")

    def call(self, x: Any) -> Any:
        votes = ops.einsum("bnd,ncdw->bncw", x, self.kernel)
        logits = ops.zeros_like(votes[..., 0])
        out = votes[:, 0]
        for _ in range(3):
            out = self.squash(ops.einsum("bnc,bncw->bcw", ops.softmax(logits, axis=2), votes))
            logits = logits + ops.einsum("bncw,bcw->bnc", votes, out)
        return out

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "capsules": self.capsules, "width": self.width}


@keras.saving.register_keras_serializable("classics")
class GraphConvolution(L.Layer):
    """Neighbours are averaged over a dense adjacency matrix."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.dense = units, L.Dense(units, "relu")

    def build(self, shapes: Any) -> None:
        self.dense.build(shapes[0])

    def call(self, inputs: Any) -> Any:
        nodes, adjacency = inputs
        degree = ops.sum(ops.abs(adjacency), axis=-1, keepdims=True) + 1.0
        return self.dense((nodes + ops.matmul(adjacency, nodes)) / degree)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def lenet() -> Any:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            L.Conv2D(6, 5, padding="same", activation="tanh"),
            L.AveragePooling2D(2),
            L.Conv2D(16, 5, activation="tanh"),
            L.AveragePooling2D(2),
            L.Flatten(),
            L.Dense(60, "tanh"),
            L.Dropout(0.5),
            L.Dense(10, "softmax"),
        ]
    )


def small_vgg() -> Any:
    x = inputs = keras.Input((32, 32, 3))
    for filters, rate in ((8, 0.2), (16, 0.3)):
        for _ in range(2):
            x = L.BatchNormalization()(L.Conv2D(filters, 3, padding="same", activation="relu")(x))
        x = L.Dropout(rate)(L.MaxPooling2D()(x))
    x = L.Dropout(0.5)(L.Dense(32, "relu")(L.Flatten()(x)))
    return keras.Model(inputs, L.Dense(10, "softmax")(x))


def small_resnet() -> Any:
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(L.Rescaling(1 / 255)(inputs))
    for _ in range(2):
        h = L.Activation("relu")(L.BatchNormalization()(x))
        h = L.Dropout(0.2)(L.Conv2D(8, 3, padding="same", use_bias=False)(h))
        x = L.Add()([x, L.Conv2D(8, 3, padding="same")(L.ReLU()(L.BatchNormalization()(h)))])
    return keras.Model(inputs, L.Dense(5, "softmax")(L.GlobalAveragePooling2D()(x)))


def squeeze_and_excite() -> Any:
    inputs = keras.Input((12, 12, 3))
    x = L.DepthwiseConv2D(3, depth_multiplier=3, activation="silu")(inputs)
    gate = L.Dense(9, "sigmoid")(L.Dropout(0.3)(L.Dense(3, "silu")(L.GlobalAveragePooling2D()(x))))
    x = L.Multiply()([x, L.Reshape((1, 1, 9))(gate)])
    return keras.Model(inputs, L.Dense(4)(L.GlobalMaxPooling2D()(L.SeparableConv2D(8, 3)(x))))


def u_net() -> Any:
    x = inputs = keras.Input((16, 16, 1))
    skips = []
    for filters in (4, 8):
        x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = L.Dropout(0.2)(L.MaxPooling2D()(x))
    x = L.Dropout(0.4)(L.Conv2D(16, 3, padding="same", activation="relu")(x))
    for filters, skip in ((8, skips[1]), (4, skips[0])):
        x = L.Concatenate()([L.Conv2DTranspose(filters, 2, strides=2)(x), skip])
        x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, L.Conv2D(3, 1, activation="softmax")(x))


def segmenter_of_any_size() -> Any:
    inputs = keras.Input((None, None, 3))
    x = L.SpatialDropout2D(0.3)(L.Conv2D(6, 3, padding="same", activation="relu")(inputs))
    x = L.UpSampling2D(interpolation="bilinear")(L.MaxPooling2D(padding="same")(x))
    return keras.Model(inputs, L.Conv2D(1, 1, activation="sigmoid")(x))


def denoising_autoencoder() -> Any:
    inputs = keras.Input((20,))
    code = L.Dense(4, "relu")(L.Dense(12, "relu")(L.GaussianNoise(0.3)(inputs)))
    return keras.Model(inputs, L.Dense(20, "sigmoid")(L.Dropout(0.2)(L.Dense(12, "relu")(code))))


def variational_autoencoder() -> Any:
    inputs = keras.Input((10, 10, 1))
    h = L.Dense(12, "relu")(L.Flatten()(L.Conv2D(4, 3, strides=2, activation="relu")(inputs)))
    z = Sampling()([L.Dense(2)(h), L.Dense(2)(h)])
    x = L.Reshape((5, 5, 2))(L.Dense(50, "relu")(z))
    return keras.Model(inputs, L.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(x))


def generator() -> Any:
    """Of a generative adversarial network: from noise and a class to an image."""
    noise, label = keras.Input((6,)), keras.Input((1,), dtype="int32")
    x = L.Concatenate()([noise, L.Flatten()(L.Embedding(4, 6)(label))])
    x = L.LeakyReLU()(L.BatchNormalization()(L.Dense(3 * 3 * 8)(x)))
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same")(L.Dropout(0.3)(L.Reshape((3, 3, 8))(x)))
    return keras.Model([noise, label], L.Conv2D(1, 3, padding="same", activation="tanh")(x))


def discriminator() -> Any:
    x = inputs = keras.Input((12, 12, 1))
    for filters in (4, 8):
        x = L.Dropout(0.3)(L.LeakyReLU(0.2)(L.Conv2D(filters, 3, strides=2, padding="same")(x)))
    return keras.Model(inputs, L.Dense(1, "sigmoid")(L.Flatten()(x)))


def siamese() -> Any:
    body = keras.Sequential(
        [keras.Input((8, 8, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dropout(0.3), L.Dense(6)]
    )
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    apart = L.Subtract()([body(left), body(right)])
    return keras.Model([left, right], L.Dense(1, "sigmoid")(ops.abs(apart)))


def triplet() -> Any:
    body = keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.Dropout(0.4), L.Dense(4), L.UnitNormalization()])
    inputs = [keras.Input((6,), name=name) for name in ("anchor", "positive", "negative")]
    anchor, positive, negative = (body(x) for x in inputs)
    return keras.Model(inputs, [L.Dot(1)([anchor, positive]), L.Dot(1)([anchor, negative])])


def vision_transformer() -> Any:
    inputs = keras.Input((12, 12, 3))
    x = L.Dropout(0.1)(Patches(4, 8)(inputs))
    for _ in range(2):
        h = L.LayerNormalization(epsilon=1e-6)(x)
        x = x + L.MultiHeadAttention(2, 4, dropout=0.1)(h, h)
        h = L.Dropout(0.1)(L.Dense(16, "gelu")(L.LayerNormalization(epsilon=1e-6)(x)))
        x = x + L.Dropout(0.1)(L.Dense(8)(h))
    return keras.Model(inputs, L.Dense(5, "softmax")(L.LayerNormalization()(x)[:, 0]))


def mlp_mixer() -> Any:
    inputs = keras.Input((12, 12, 3))
    x = L.Reshape((9, 8))(L.Conv2D(8, 4, strides=4)(inputs))
    for _ in range(2):
        h = L.Permute((2, 1))(L.LayerNormalization()(x))
        h = L.Dropout(0.2)(L.Dense(9)(L.Dense(12, "gelu")(h)))
        x = L.Add()([x, L.Permute((2, 1))(h)])
        x = L.Add()([x, L.Dropout(0.2)(L.Dense(8)(L.Dense(16, "gelu")(L.LayerNormalization()(x))))])
    return keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling1D()(x)))


def conv_mixer() -> Any:
    x = L.BatchNormalization()(L.Conv2D(8, 2, strides=2, activation="gelu")(inputs := keras.Input((12, 12, 3))))
    for _ in range(2):
        x = L.Add()([x, L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", activation="gelu")(x))])
        x = L.SpatialDropout2D(0.1)(L.BatchNormalization()(L.Conv2D(8, 1, activation="gelu")(x)))
    return keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def capsules() -> Any:
    inputs = keras.Input((10, 10, 1))
    x = Squash()(L.Reshape((-1, 4))(L.Dropout(0.3)(L.Conv2D(8, 5, strides=2, activation="relu")(inputs))))
    x = Routing(3, 5)(x)
    return keras.Model(inputs, ops.norm(x, axis=-1))


def graph_network() -> Any:
    nodes, adjacency = keras.Input((7, 4), name="nodes"), keras.Input((7, 7), name="adjacency")
    x = L.Dropout(0.3)(GraphConvolution(8)([nodes, adjacency]))
    x = L.Dropout(0.3)(GraphConvolution(8)([x, adjacency]))
    return keras.Model([nodes, adjacency], L.Dense(3, "softmax")(x))


def point_net() -> Any:
    inputs = keras.Input((32, 3))
    x = L.BatchNormalization()(L.Conv1D(16, 1, activation="relu")(inputs))
    turn = L.Reshape((3, 3))(L.Dense(9)(L.GlobalMaxPooling1D()(x)))
    x = L.Conv1D(16, 1, activation="relu")(L.Dot(axes=(2, 1))([inputs, turn]))
    x = L.Dropout(0.3)(L.Dense(8, "relu")(L.GlobalMaxPooling1D()(x)))
    return keras.Model(inputs, L.Dense(4, "softmax")(x))


def detector() -> Any:
    """Boxes and classes over a grid, from a shared body."""
    inputs = keras.Input((16, 16, 3))
    x = L.SpatialDropout2D(0.2)(L.Conv2D(8, 3, strides=4, padding="same", activation="relu")(inputs))
    boxes = L.Reshape((-1, 4), name="boxes")(L.Conv2D(8, 1)(x))
    kinds = L.Softmax(name="kinds")(L.Reshape((-1, 3))(L.Conv2D(6, 1)(L.Dropout(0.2)(x))))
    return keras.Model(inputs, {"boxes": boxes, "kinds": kinds})


def video() -> Any:
    inputs = keras.Input((4, 8, 8, 1))
    frame = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dropout(0.3)])
    x = L.LSTM(6, dropout=0.2)(L.TimeDistributed(frame)(inputs))
    return keras.Model(inputs, L.Dense(3, "softmax")(x))


def super_resolution() -> Any:
    inputs = keras.Input((8, 8, 1))
    x = L.Dropout(0.2)(L.Conv2D(8, 3, padding="same", activation="tanh")(inputs))
    x = ops.reshape(L.Conv2D(4, 3, padding="same")(x), (-1, 8, 8, 2, 2))
    return keras.Model(inputs, ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, 16, 16, 1)))


def augmented_transfer() -> Any:
    body = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(6, 3, activation="relu"), L.BatchNormalization()])
    body.trainable = False
    augment = keras.Sequential([L.RandomFlip(), L.RandomRotation(0.2), L.RandomZoom(0.1), L.RandomContrast(0.2)])
    inputs = keras.Input((16, 16, 3))
    x = L.GlobalAveragePooling2D()(body(L.Resizing(16, 16)(augment(inputs)), training=False))
    return keras.Model(inputs, L.Dense(3, "softmax")(L.Dropout(0.3)(x)))


CLASSICS: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        lenet,
        small_vgg,
        small_resnet,
        squeeze_and_excite,
        u_net,
        segmenter_of_any_size,
        denoising_autoencoder,
        variational_autoencoder,
        generator,
        discriminator,
        siamese,
        triplet,
        vision_transformer,
        mlp_mixer,
        conv_mixer,
        capsules,
        graph_network,
        point_net,
        detector,
        video,
        super_resolution,
        augmented_transfer,
    )
}
