"""Layers of books and forums that draw their own noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.random import normal as normal_by_name

L, ops = keras.layers, keras.ops


class MCDropout(L.Dropout):
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=True)


class MCDropoutWithoutArgument(L.Dropout):
    def call(self, inputs: Any) -> Any:
        return super().call(inputs, training=True)


class MCAlphaDropout(L.AlphaDropout):
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=True)


class MCSpatialDropout(L.SpatialDropout1D):
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=True)


class MCGaussianNoise(L.GaussianNoise):
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=True)


class DocumentedDropout(L.Dropout):
    """Says more than Keras does, and has a default."""

    def __init__(self, rate: float = 0.25, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)


class LateDropout(L.Dropout):
    """Reaches Keras's call only when it trains."""

    def call(self, inputs: Any, training: Any = False) -> Any:
        return super().call(inputs, training=True) * 1.0 if training else inputs


class Own(L.Layer):
    """A layer of a user: has a rate, and seeds."""

    def __init__(self, rate: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seeds = rate, keras.random.SeedGenerator(1)


class DropPath(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        kept = ops.floor(1 - self.rate + keras.random.uniform(shape, seed=self.seeds))
        return x / (1 - self.rate) * kept


class DropPathOfTensorFlow(Own):
    def call(self, x: Any, training: Any = False) -> Any:
        if training:
            shape = tf.stack([tf.shape(x)[0], 1])
            return x / (1 - self.rate) * tf.floor(1 - self.rate + tf.random.uniform(shape))
        return x


class DropPathByBinomial(Own):
    def call(self, x: Any, training: Any = False) -> Any:
        if not training:
            return x
        kept = keras.random.binomial((ops.shape(x)[0], 1), 1, 1 - self.rate, seed=self.seeds)
        return x * kept / (1 - self.rate)


class DropBlock(Own):
    """Drops regions of three units (Ghiasi et al. 2018)."""

    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        seeds = keras.random.uniform(ops.shape(x), seed=self.seeds) < self.rate / 3
        seeds = ops.expand_dims(ops.cast(seeds, "float32"), -1)
        kept = 1.0 - ops.squeeze(ops.max_pool(seeds, 3, strides=1, padding="same"), -1)
        return x * kept


class ConcreteDropout(Own):
    """The rate is a weight (Gal et al. 2017)."""

    def build(self, shape: Any) -> None:
        self.logit = self.add_weight(shape=(), initializer=keras.initializers.Constant(-0.8), name="logit")

    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        p, u = ops.sigmoid(self.logit), keras.random.uniform(ops.shape(x), 1e-4, 1 - 1e-4, seed=self.seeds)
        kept = 1 - ops.sigmoid((ops.log(p / (1 - p)) + ops.log(u / (1 - u))) / 0.1)
        return x * kept / (1 - p)


class Sampling(Own):
    """Of a variational autoencoder: draws whatever `training` is."""

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        z = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(0.5 * log_variance) * z


class SamplingWhenTraining(Own):
    def call(self, inputs: Any, training: Any = None) -> Any:
        mean, log_variance = inputs
        if training:
            mean = mean + tf.exp(0.5 * log_variance) * tf.random.normal([tf.shape(mean)[0], mean.shape[1]])
        return mean


class NormalByName(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return x + 0.4 * normal_by_name(ops.shape(x), seed=self.seeds) if training else x


class Truncated(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return x + keras.random.truncated_normal(ops.shape(x), stddev=0.7, seed=self.seeds) if training else x


class WholeNumbers(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        return x + ops.cast(keras.random.randint(ops.shape(x), -2, 3, seed=self.seeds), "float32")


class Categories(Own):
    """Adds the number of one of three classes, drawn for each row."""

    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        logits = ops.tile(ops.log(np.array([[0.5, 0.3, 0.2]], "float32")), (ops.shape(x)[0], 1))
        return x + ops.cast(keras.random.categorical(logits, 1, seed=self.seeds), "float32")


class DropoutOfKerasRandom(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return keras.random.dropout(x, self.rate, seed=self.seeds) if training else x


class DropoutOfTensorFlow(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return tf.nn.dropout(x, rate=self.rate) if training else x


class SharedDropoutOfTensorFlow(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return tf.nn.dropout(x, rate=self.rate, noise_shape=[tf.shape(x)[0], 1]) if training else x


class AlwaysDropoutOfTensorFlow(Own):
    def call(self, x: Any) -> Any:
        return tf.nn.dropout(x, rate=self.rate)


class AlwaysDropoutOfKerasRandom(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return keras.random.dropout(x, self.rate, noise_shape=(None, 1), seed=self.seeds)


class GeneratorNoise(Own):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.generator = tf.random.Generator.from_seed(3)

    def call(self, x: Any, training: Any = None) -> Any:
        return x + self.generator.normal(tf.shape(x), stddev=0.3) if training else x


class DropConnect(Own):
    """The numbers have no rows: a kernel's."""

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(shape[-1], 4), name="w")

    def call(self, x: Any, training: Any = None) -> Any:
        w = self.w
        if training:
            kept = ops.cast(keras.random.uniform((6, 4), seed=self.seeds) >= self.rate, "float32")
            w = w * kept / (1 - self.rate)
        return ops.matmul(x, w)


class BayesianDense(Own):
    """A normal distribution of each weight (Blundell et al. 2015)."""

    def build(self, shape: Any) -> None:
        self.mean = self.add_weight(shape=(shape[-1], 4), name="mean")
        self.rho = self.add_weight(shape=(shape[-1], 4), initializer=keras.initializers.Constant(-1.5), name="rho")

    def call(self, x: Any, training: Any = None) -> Any:
        w = self.mean
        if training:
            w = w + ops.softplus(self.rho) * keras.random.normal(self.mean.shape, seed=self.seeds)
        return ops.matmul(x, w)


class Scalar(Own):
    """One number for the whole call."""

    def call(self, x: Any, training: Any = None) -> Any:
        return x * (1 + 0.3 * keras.random.normal((), seed=self.seeds)) if training else x


class BlockWithNormalisation(Own):
    """Its batch normalisation must stay in inference while its noise is drawn."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense, self.norm, self.drop = L.Dense(6), L.BatchNormalization(), L.Dropout(0.2)

    def call(self, x: Any, training: Any = None) -> Any:
        x = self.norm(self.dense(x), training=training)
        x = self.drop(x, training=training)
        return x + 0.2 * keras.random.normal(ops.shape(x), seed=self.seeds) if training else x


class OnlyWhenTraining(L.Layer):
    """The idiom of many subclassed models: a branch that is taken only when training."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense, self.norm, self.drop = L.Dense(6), L.BatchNormalization(), L.Dropout(0.4)

    def call(self, x: Any, training: Any = None) -> Any:
        x = self.norm(self.dense(x), training=training)
        if training:
            x = self.drop(x, training=training)
        return x


class Net(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense, self.norm, self.drop, self.last = L.Dense(6), L.BatchNormalization(), L.Dropout(0.4), L.Dense(2)

    def call(self, x: Any, training: Any = None) -> Any:
        x = self.norm(self.dense(x), training=training)
        if training:
            x = self.drop(x, training=training)
        return self.last(x)


class NoisyNet(keras.Model):
    """Noise in the call of the model itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense, self.last = L.Dense(6), L.Dense(2)

    def call(self, x: Any, training: Any = None) -> Any:
        x = self.dense(x)
        if training:
            x = x * tf.cast(tf.random.uniform(tf.shape(x)) > 0.4, tf.float32)
        return self.last(x)


# What cannot be replaced, or has no plain answer.


class AlwaysUniform(Own):
    def call(self, x: Any) -> Any:
        return x * ops.cast(keras.random.uniform(ops.shape(x), seed=self.seeds) > 0.5, "float32")


class Gamma(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return x * keras.random.gamma(ops.shape(x), 2.0, seed=self.seeds) if training else x


class Mixed(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        return tf.random.shuffle(x) if training else x


class InALoop(Own):
    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        noisy = lambda i, s: s + keras.random.normal((ops.shape(x)[0], 6), seed=self.seeds)  # noqa: E731
        return ops.fori_loop(0, 3, noisy, x)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


def around(layer: Any) -> Any:
    inputs = keras.Input((6,))
    x = layer(L.Dense(6, "tanh")(inputs))
    return keras.Model(inputs, L.Dense(2)(L.Dense(5, "tanh")(x)))


def sequence_around(layer: Any) -> Any:
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(layer(L.Dense(4, "tanh")(inputs)))))


def encoder(layer: Any) -> Any:
    inputs = keras.Input((5,))
    return keras.Model(inputs, L.Dense(1)(L.Dense(4, "tanh")(layer([L.Dense(2)(inputs), L.Dense(2)(inputs)]))))


def called(model: Any) -> Any:
    model(np.ones((2, 6), "float32"))
    return model


IDIOMS: dict[str, Callable[[], Any]] = {
    "mc_dropout": lambda: around(MCDropout(0.3)),
    "mc_dropout_without_argument": lambda: around(MCDropoutWithoutArgument(0.3)),
    "mc_alpha_dropout": lambda: around(MCAlphaDropout(0.3)),
    "mc_spatial_dropout": lambda: sequence_around(MCSpatialDropout(0.3)),
    "mc_gaussian_noise": lambda: around(MCGaussianNoise(0.3)),
    "documented_dropout": lambda: around(DocumentedDropout()),
    "late_dropout": lambda: around(LateDropout(0.3)),
    "drop_path": lambda: around(DropPath()),
    "drop_path_of_sequences": lambda: sequence_around(DropPath()),
    "drop_path_of_tensorflow": lambda: around(DropPathOfTensorFlow()),
    "drop_path_by_binomial": lambda: around(DropPathByBinomial()),
    "drop_block": lambda: sequence_around(DropBlock()),
    "concrete_dropout": lambda: around(ConcreteDropout()),
    "sampling": lambda: encoder(Sampling()),
    "sampling_when_training": lambda: encoder(SamplingWhenTraining()),
    "normal_by_name": lambda: around(NormalByName()),
    "truncated": lambda: around(Truncated()),
    "whole_numbers": lambda: around(WholeNumbers()),
    "categories": lambda: around(Categories()),
    "dropout_of_keras_random": lambda: around(DropoutOfKerasRandom()),
    "dropout_of_tensorflow": lambda: around(DropoutOfTensorFlow()),
    "shared_dropout_of_tensorflow": lambda: around(SharedDropoutOfTensorFlow()),
    "always_dropout_of_tensorflow": lambda: around(AlwaysDropoutOfTensorFlow()),
    "always_dropout_of_keras_random": lambda: around(AlwaysDropoutOfKerasRandom()),
    "generator": lambda: around(GeneratorNoise()),
    "drop_connect": lambda: around(DropConnect()),
    "bayesian_dense": lambda: around(BayesianDense()),
    "scalar": lambda: around(Scalar()),
    "block_with_normalisation": lambda: around(BlockWithNormalisation()),
    "only_when_training": lambda: around(OnlyWhenTraining()),
    "two_of_them": lambda: around(keras.Sequential([DropPath(), L.Dropout(0.2), DropoutOfTensorFlow(0.4)])),
    "net": lambda: called(Net()),
    "noisy_net": lambda: called(NoisyNet()),
}

REFUSED: dict[str, tuple[type, str]] = {
    "always_uniform": (AlwaysUniform, "draws random numbers even when the model only predicts"),
    "gamma": (Gamma, "draws its own noise when training"),
    "shuffled_rows": (Mixed, "draws its own noise when training"),
    "noise_in_a_loop": (InALoop, "is called in a loop"),
}
"""Layers that are refused, and with what words."""
