"""What is looked for before a model is served, and what it is told when it cannot be."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo import build
from thinned.models.card import InputSpec
from thinned.models.dropout import check_laws, check_untouched, enable_mc_dropout, register_noise
from thinned.models.errors import NoSitesError, UnknownNoiseError, UnsupportedModelError

L = keras.layers


def around(layer: Any, shape: tuple[int, ...] = (4,)) -> Any:
    inputs = keras.Input(shape)
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.5)(layer(inputs))))


class Own(L.Layer):
    """Noise from keras.random, with a generator of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return keras.random.dropout(x, 0.5, seed=self.seed_generator) if training else x


class Raw(L.Layer):
    """Noise straight from TensorFlow, of a kind that cannot be replaced, inside a layer that holds others."""

    def call(self, x: Any, training: bool = False) -> Any:
        return x * tf.random.gamma(tf.shape(x), 2.0) if training else x


class Always(L.Layer):
    """Noise whenever it is called, as the sampling layer of a variational autoencoder."""

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x))


class Overridden(L.Dropout):
    """Looks like Keras's dropout, and draws otherwise."""

    def call(self, x: Any, training: bool = False) -> Any:
        return x + tf.random.poisson(tf.shape(x), 2.0) if training else x


class Kept(L.Layer):
    """A dropout that its layer holds off whatever the model does."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop = L.Dropout(0.5)

    def call(self, x: Any) -> Any:
        return self.drop(x, training=False)


@pytest.mark.parametrize("cls", [Raw, Overridden])
def test_a_layer_with_noise_of_its_own_is_refused_by_name(cls: type) -> None:
    layer = cls(0.3, name="mine") if cls is Overridden else cls(name="mine")
    with pytest.raises(UnknownNoiseError, match=rf"'mine' \({cls.__name__}\).*register_noise"):
        enable_mc_dropout(around(layer))


def test_noise_inside_a_layer_of_layers_is_named_by_its_path() -> None:
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4), Raw(name="hidden")], name="block")
    with pytest.raises(UnknownNoiseError, match="'block/hidden' \\(Raw\\)"):
        enable_mc_dropout(around(inner))


def test_registered_noise_is_a_site_and_none_keeps_it_off() -> None:
    class Mine(Own):
        pass

    class Off(Own):
        pass

    register_noise(Mine, armed=lambda layer, draw, x: draw.bernoulli(x, 0.5))
    register_noise(Off, armed=None)
    stochastic = enable_mc_dropout(around(Mine(name="mine")))
    assert [site.path for site in stochastic.sites] == ["mine", stochastic.sites[1].path]
    check_laws(stochastic)
    assert [site.kind for site in enable_mc_dropout(around(Off(name="off"))).sites] == ["Dropout"]
    with pytest.raises(ValueError, match="registered already"):
        register_noise(Mine, armed=None, replace=False)


def test_noise_at_all_times_can_be_registered_with_its_deterministic_form() -> None:
    class Sampling(Always):
        pass

    register_noise(Sampling, armed=lambda layer, draw, x: draw.normal(x, lambda a, z: a + z), off=lambda layer, x: x)
    inputs = keras.Input((4,))
    stochastic = enable_mc_dropout(keras.Model(inputs, Sampling()(inputs)))
    x = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(next(iter(stochastic.predict({stochastic.inputs[0].name: x}).values())), x)
    passes = next(iter(stochastic.sample({stochastic.inputs[0].name: x}, n_samples=5000, seed=0).values()))
    assert abs(passes.mean() - 1) < 0.05
    assert abs(passes.std() - 1) < 0.05


def test_a_model_without_sites_answers_and_refuses_passes() -> None:
    inputs = keras.Input((4,))
    stochastic = enable_mc_dropout(keras.Model(inputs, L.Dense(2)(L.Dropout(0.0)(inputs))))
    check_laws(stochastic)
    x = {stochastic.inputs[0].name: np.ones((2, 4), "float32")}
    assert len(stochastic.predict(x)) == 1
    for ask in (
        lambda: stochastic.sample(x, n_samples=3, seed=0),
        lambda: stochastic.summary(x, n_samples=3, seed=0),
    ):
        with pytest.raises(NoSitesError, match="no active dropout or noise layer"):
            ask()


def test_a_site_that_is_held_off_is_no_site_and_is_told() -> None:
    inputs = keras.Input((4,))
    stochastic = enable_mc_dropout(keras.Model(inputs, L.Dense(2)(Kept(name="kept")(inputs))))
    assert stochastic.sites == ()
    assert "kept/dropout" in stochastic.warnings[0]
    assert "stays off" in stochastic.warnings[0]


def test_a_forced_site_is_told_and_off_in_deterministic_answers() -> None:
    model = build("forced")
    stochastic = enable_mc_dropout(model)
    assert [site.forced for site in stochastic.sites] == [True]
    assert "training=True" in stochastic.warnings[0]
    x = np.ones((3, 6), "float32")
    own = model(x, training=False).numpy()
    np.testing.assert_allclose(next(iter(stochastic.predict({stochastic.inputs[0].name: x}).values())), own, rtol=1e-6)
    before = [v.numpy() for v in model.variables]
    stochastic.sample({stochastic.inputs[0].name: x}, n_samples=4, seed=0)
    assert all((a == b.numpy()).all() for a, b in zip(before, model.variables, strict=True))


def test_keras_still_switches_forced_sites_off_in_inference() -> None:
    """Through 3.15 Keras overrides `training=True` of a functional node; when it no longer does, `forced` says more."""
    model = build("forced")
    x = np.ones((1, 6), "float32")
    answers = [model(x, training=False).numpy() for _ in range(8)]
    assert all((answer == answers[0]).all() for answer in answers)


def test_a_forced_site_inside_a_subclassed_model_is_off_in_deterministic_answers() -> None:
    class Forced(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop = L.Dense(8), L.Dropout(0.4)

        def call(self, x: Any, training: bool | None = None) -> Any:
            return self.drop(self.first(x), training=True)

    model = Forced()
    model(np.ones((2, 5), "float32"))
    stochastic = enable_mc_dropout(model)
    assert stochastic.sites[0].forced
    check_laws(stochastic)
    check_untouched(stochastic, model)


def test_stateful_recurrence_is_refused() -> None:
    inputs = keras.Input(batch_shape=(2, 3, 4))
    with pytest.raises(UnsupportedModelError, match="stateful=False"):
        enable_mc_dropout(keras.Model(inputs, L.Dropout(0.5)(L.LSTM(3, stateful=True)(inputs))))


def test_batch_normalisation_that_trains_in_inference_is_refused() -> None:
    class Restless(L.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.norm = L.BatchNormalization()

        def call(self, x: Any) -> Any:
            return self.norm(x, training=True)

    with pytest.raises(UnsupportedModelError, match="changes a variable"):
        enable_mc_dropout(around(Restless()))


def test_a_model_that_mixes_rows_is_refused() -> None:
    inputs = keras.Input((4,))
    mixed = L.Lambda(lambda x: x - keras.ops.mean(x, axis=0, keepdims=True))(inputs)
    stochastic = enable_mc_dropout(keras.Model(inputs, L.Dropout(0.5)(mixed)))
    with pytest.raises(UnsupportedModelError, match="depends on the other rows"):
        check_laws(stochastic)


def test_passes_that_cannot_differ_are_refused() -> None:
    inputs = keras.Input((4,))
    with pytest.raises(UnsupportedModelError, match="all the same"):
        check_laws(enable_mc_dropout(keras.Model(inputs, L.Dense(2)(L.Dropout(1.0)(inputs)))))


def test_an_unbuilt_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="not built"):
        enable_mc_dropout(keras.Sequential([L.Dense(2)]))


def test_inputs_of_a_subclassed_model_can_be_given() -> None:
    class Words(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.drop, self.last = L.Embedding(9, 4), L.Dropout(0.4), L.Dense(1)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.last(self.drop(keras.ops.mean(self.table(x), axis=1), training=training))

    model = Words()
    model(np.ones((1, 6), "int32"))
    stochastic = enable_mc_dropout(model, input_specs=[InputSpec(name="words", shape=(6,), dtype="int32")])
    check_laws(stochastic)
    assert stochastic.predict({"words": np.ones((2, 6), "int32")})["output"].shape == (2, 1)


def test_names_given_by_the_card_win() -> None:
    stochastic = enable_mc_dropout(build("sequential"), input_specs=[InputSpec(name="x", shape=(5,), dtype="float32")])
    assert [spec.name for spec in stochastic.inputs] == ["x"]
    with pytest.raises(UnsupportedModelError, match="Only lengths that the graph leaves open"):
        enable_mc_dropout(build("sequential"), input_specs=[InputSpec(name="x", shape=(6,), dtype="float32")])


@pytest.mark.parametrize(
    ("last", "activation"),
    [
        (lambda x: L.Dense(3, "softmax")(x), "softmax"),
        (lambda x: L.Softmax()(L.Dense(3)(x)), "softmax"),
        (lambda x: keras.ops.softmax(L.Dense(3)(x)), "softmax"),
        (lambda x: L.Activation("softmax", dtype="float32")(L.Dense(3)(x)), "softmax"),
        (lambda x: L.Dropout(0.1)(L.Reshape((3, 1))(L.Dense(3, "sigmoid")(x))), "sigmoid"),
        (lambda x: keras.Sequential([keras.Input((4,)), L.Dense(3, "softmax")])(x), "softmax"),
        (lambda x: L.Dense(3)(x), "linear"),
        (lambda x: x * 2.0, None),
    ],
)
def test_the_activation_behind_an_output_is_seen(last: Any, activation: str | None) -> None:
    inputs = keras.Input((4,))
    assert enable_mc_dropout(keras.Model(inputs, last(L.Dropout(0.5)(inputs)))).outputs[0].activation == activation
