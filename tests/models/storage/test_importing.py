"""A file becomes a model whose card says how its numbers are to be read; what is unclear is asked, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from thinned.models.calibration import store_calibrated
from thinned.models.card import InputSpec, SiteSpec
from thinned.models.dropout import OutputSignature, enable_mc_dropout
from thinned.models.errors import ModelDiffersError, ModelExistsError, ModelFileError, UnsupportedModelError
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model
from thinned.models.storage.keras_archive import read_keras
from thinned.models.storage.output_task import output_specs
from thinned.models.storage.pointers import rollback

pytestmark = pytest.mark.usefixtures("store")

X = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")


def out(activation: str | None, *shape: int | None, name: str = "y") -> OutputSignature:
    return OutputSignature(name=name, shape=shape, dtype="float32", activation=activation)


def settle(*outputs: OutputSignature, tasks: Any = None, labels: Any = None, scale: Any = None) -> Any:
    return output_specs(outputs, tasks=tasks or {None: "classification"}, labels=labels or {}, scale=scale or {})


def test_the_card_says_what_the_model_is(files: Path) -> None:
    stored = import_model(
        files / "softmax.keras",
        name="pets",
        tasks={None: "classification"},
        labels=["cat", "dog", "eel"],
        scores={"accuracy_deterministic": 0.5},
    )
    card = model_store.find("pets").card
    assert card == stored.card
    assert card.inputs == (InputSpec(name="x", shape=(4,), dtype="float32"),)
    assert card.outputs[0].model_dump() == {
        "estimator": "more_masks",
        "estimator_note": None,
        "name": "kind",
        "shape": (3,),
        "dtype": "float32",
        "task": "classification",
        "scale": "probabilities",
        "labels": ("cat", "dog", "eel"),
        "levels": None,
        "noise": None,
        "calibration": None,
        "members": 1,
    }
    assert [(site.kind, site.rate, site.shape) for site in card.sites] == [("Dropout", 0.3, (8,))]
    assert card.sha256 == model_store.digest(files / "softmax.keras")
    assert card.scores == {"accuracy_deterministic": 0.5}
    assert card.warnings == ()


def test_an_argmax_is_no_regression(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((4,))
    scores = keras.layers.Dense(3)(keras.layers.Dropout(0.3)(inputs))
    keras.Model(inputs, keras.ops.argmax(scores, axis=-1)).save(tmp_path / "best.keras")
    for task in ("regression", "classification"):
        with pytest.raises(UnsupportedModelError, match=r"argmax.*--task classification"):
            import_model(tmp_path / "best.keras", name="best", tasks={None: task})


@pytest.mark.long
def test_a_network_of_200_layers_is_not_refused_for_its_rounding(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8,))
    for _ in range(200):
        x = keras.layers.Dense(8, "tanh", kernel_initializer=keras.initializers.Orthogonal(1.3))(x)
    keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.2)(x))).save(tmp_path / "deep.keras")
    assert import_model(tmp_path / "deep.keras", name="deep", tasks={None: "regression"}).card.sites


def test_saving_and_loading_give_the_same_answers(files: Path) -> None:
    before = enable_mc_dropout(read_keras(files / "sound.keras"))
    stored = import_model(files / "sound.keras", name="sound", tasks={None: "regression"})
    after = enable_mc_dropout(model_store.load_keras(stored))
    assert_array_equal(after.predict({"x": X})["y"], before.predict({"x": X})["y"])
    passes = [model.sample({"x": X}, n_samples=4, seed=3)["y"] for model in (before, after)]
    assert_array_equal(*passes)


def test_custom_layers_travel_with_the_model(files: Path, layers_py: Path) -> None:
    stored = import_model(files / "custom.keras", name="custom", tasks={None: "regression"}, module=layers_py)
    assert (stored.path / "layers.py").read_bytes() == layers_py.read_bytes()
    assert stored.card.module_sha256 == model_store.digest(layers_py)
    stochastic = enable_mc_dropout(model_store.load_keras(stored))
    assert stochastic.predict({"x": X})[stochastic.outputs[0].name].shape == (3, 1)


def test_a_subclassed_model_serves(tmp_path: Path) -> None:
    import keras

    from thinned.models.storage.custom_layers import run_module

    source = tmp_path / "net.py"
    source.write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('nets')\n"
        "class Net(keras.Model):\n"
        "    def __init__(self, **more):\n"
        "        super().__init__(**more)\n"
        "        self.hidden, self.drop = keras.layers.Dense(8), keras.layers.Dropout(0.4)\n"
        "        self.last = keras.layers.Dense(2)\n"
        "    def call(self, x, training=None):\n"
        "        return self.last(self.drop(self.hidden(x), training=training))\n"
    )
    net = run_module(source).Net()
    expected = net(keras.ops.convert_to_tensor(X), training=False)
    net.save(tmp_path / "net.keras")
    tasks: Any = {None: "regression"}
    specs = [InputSpec(name="measured", shape=(4,), dtype="float32")]
    for given in (None, specs):
        stored = import_model(tmp_path / "net.keras", name="net", tasks=tasks, module=source, input_specs=given)
        stochastic = enable_mc_dropout(model_store.load_keras(stored), input_specs=stored.card.inputs)
        rows = {stored.card.inputs[0].name: X}
        assert_allclose(stochastic.predict(rows)[stochastic.outputs[0].name], expected, rtol=1e-5, atol=1e-6)
    assert [site.kind for site in stored.card.sites] == ["Dropout"]
    assert stored.card.inputs == tuple(specs)


def test_a_model_without_noise_is_taken_with_a_warning(files: Path) -> None:
    card = import_model(files / "still.keras", name="still", tasks={None: "regression"}).card
    assert card.sites == ()
    assert len(card.warnings) == 1
    assert "variance would be 0" in card.warnings[0]


def test_what_is_refused_is_not_stored(files: Path, store: Path) -> None:
    regression: Any = {None: "regression"}
    with pytest.raises(ModelFileError, match="Lambda"):
        import_model(files / "lambda_layer.keras", name="a", tasks=regression)
    with pytest.raises(ModelFileError, match="no such file"):
        import_model(files / "missing.keras", name="a", tasks=regression)
    with pytest.raises(ModelExistsError, match="'A' cannot be a model's name"):
        import_model(files / "sound.keras", name="A", tasks=regression)
    with pytest.raises(UnsupportedModelError, match="--scale"):
        import_model(files / "sound.keras", name="a", tasks={None: "classification"})
    assert list(store.iterdir()) == []


def test_several_outputs_are_each_read_their_own_way(files: Path) -> None:
    tasks: Any = {"size": "regression", None: "classification"}
    labels = {None: ["a", "b", "c"]}
    size, kind = import_model(files / "several.keras", name="several", tasks=tasks, labels=labels).card.outputs
    assert (size.task, size.scale, size.labels) == ("regression", "values", None)
    assert (kind.task, kind.scale, kind.labels) == ("classification", "probabilities", ("a", "b", "c"))


@pytest.mark.parametrize(("activation", "units"), [("softmax", 3), ("softmax", 2), ("sigmoid", 1)])
def test_the_activation_says_that_they_are_probabilities(activation: str, units: int) -> None:
    assert settle(out(activation, units))[0].scale == "probabilities"
    assert settle(out(activation, units), scale={None: "probabilities"})[0].scale == "probabilities"
    with pytest.raises(UnsupportedModelError, match=f"ends in {activation}; leave --scale out"):
        settle(out(activation, units), scale={None: "logits"})


@pytest.mark.parametrize("activation", ["linear", "relu", None])
@pytest.mark.parametrize("scale", ["logits", "probabilities"])
def test_an_unclear_scale_is_asked(activation: str | None, scale: str) -> None:
    with pytest.raises(UnsupportedModelError, match="pass --scale logits or --scale probabilities"):
        settle(out(activation, 3))
    assert settle(out(activation, 3), scale={"y": scale})[0].scale == scale


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (out("sigmoid", 3), "several labels at once.*--task multilabel"),
        (out("softmax", 1), "always 1"),
        (out("linear"), "last axis"),
        (out("linear", 3, None), "last axis"),
    ],
)
def test_what_is_no_classification_is_refused(output: OutputSignature, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        settle(output)
    assert settle(output, tasks={None: "regression"})[0].scale == "values"


def test_a_regression_on_a_softmax_is_meant_where_it_is_said_twice() -> None:
    with pytest.raises(UnsupportedModelError, match=r"--task y=classification.*--scale y=values"):
        settle(out("softmax", 3), tasks={None: "regression"})
    assert settle(out("softmax", 3), tasks={None: "regression"}, scale={None: "values"})[0].task == "regression"
    both = settle(
        out("softmax", 3, name="kind"), out("linear", 1), tasks={None: "regression"}, scale={"kind": "values"}
    )
    assert [spec.task for spec in both] == ["regression", "regression"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("a", "b"), "has 3 classes, expected as many labels, received 2 "),
        (("a", "b", "a"), "'a' more than once"),
        (("a", "", "c"), "an empty one"),
        ((), "received 0 "),
    ],
)
def test_labels_must_match_the_classes(labels: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        settle(out("softmax", 3), labels={None: labels})


def test_a_single_unit_has_two_labels() -> None:
    assert settle(out("sigmoid", 1), labels={None: ("no", "yes")})[0].labels == ("no", "yes")
    with pytest.raises(UnsupportedModelError, match="has 2 classes, expected as many labels, received 1 "):
        settle(out("sigmoid", 1), labels={None: ("yes",)})


def test_choices_that_fit_no_output_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="--task names the output 'z'; the model's outputs are 'y'"):
        settle(out("softmax", 3), tasks={"z": "classification"})
    with pytest.raises(UnsupportedModelError, match="'b' has no task; add --task b=classification"):
        settle(out("softmax", 3, name="a"), out("softmax", 3, name="b"), tasks={"a": "classification"})
    with pytest.raises(UnsupportedModelError, match="labels given for a regression"):
        settle(out("linear", 3), tasks={None: "regression"}, labels={None: ("a", "b", "c")})
    with pytest.raises(UnsupportedModelError, match="'logits' given for a regression"):
        settle(out("linear", 3), tasks={None: "regression"}, scale={None: "logits"})


def test_labels_for_all_pass_a_regression_by() -> None:
    outputs = out("linear", 1, name="a"), out("softmax", 2, name="b")
    tasks = {"a": "regression", "b": "classification"}
    assert [o.labels for o in settle(*outputs, tasks=tasks, labels={None: ("u", "v")})] == [None, ("u", "v")]
    with pytest.raises(UnsupportedModelError, match="labels given for a regression"):
        settle(*outputs, tasks=tasks, labels={"a": ("u",)})


def test_sites_stand_on_the_card() -> None:
    """The card's own types hold what arming finds: nothing is lost on the way through JSON."""
    site = SiteSpec(path="a/b", kind="Dropout", rate=0.1, shape=(None, 3), calls=2, forced=True)
    assert SiteSpec.model_validate_json(site.model_dump_json()) == site


def test_several_sigmoids_are_a_multilabel() -> None:
    multilabel = {None: "multilabel"}
    found = settle(out("sigmoid", 3), tasks=multilabel, labels={None: ("a", "b", "c")})[0]
    assert (found.scale, found.labels) == ("probabilities", ("a", "b", "c"))
    assert settle(out("sigmoid", 1), tasks=multilabel, labels={None: ("a",)})[0].labels == ("a",)
    assert settle(out("linear", 3), tasks=multilabel, scale={None: "logits"})[0].scale == "logits"
    with pytest.raises(UnsupportedModelError, match="pass --scale logits or --scale probabilities"):
        settle(out("linear", 3), tasks=multilabel)
    with pytest.raises(UnsupportedModelError, match="one label out of 3; pass --task classification"):
        settle(out("softmax", 3), tasks=multilabel)


def test_means_and_log_variances_are_a_gaussian() -> None:
    gaussian = {None: "gaussian"}
    assert settle(out("linear", 4), tasks=gaussian)[0].scale == "values"
    for output in (out("linear", 3), out("linear"), out(None, None)):
        with pytest.raises(UnsupportedModelError, match="K means followed by K log-variances"):
            settle(output, tasks=gaussian)
    with pytest.raises(UnsupportedModelError, match="ends in softplus"):
        settle(out("softplus", 2), tasks=gaussian)
    with pytest.raises(UnsupportedModelError, match="labels given for a regression"):
        settle(out("linear", 2), tasks=gaussian, labels={None: ("a", "b")})


def small(*layers: Any, shape: tuple[int, ...] = (5, 8)) -> Any:
    import keras

    x = inputs = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("as_operation", [False, True])
def test_a_softmax_over_another_axis_is_no_classification_over_the_last(tmp_path: Path, as_operation: bool) -> None:
    import keras

    L = keras.layers
    softmax = (lambda x: keras.ops.softmax(x, axis=1)) if as_operation else L.Softmax(axis=1)
    small(L.Dropout(0.3), L.Dense(4), softmax).save(tmp_path / "axis.keras")
    with pytest.raises(UnsupportedModelError, match=r"softmax over axis 1.*classes on the last axis"):
        import_model(tmp_path / "axis.keras", name="axis", tasks={None: "classification"}, scale="probabilities")
    small(L.Dropout(0.3), L.Dense(4), L.Softmax(axis=2)).save(tmp_path / "last.keras")
    assert import_model(tmp_path / "last.keras", name="axis", tasks={None: "classification"}).card.outputs


def test_dropout_behind_a_softmax_is_warned_of(tmp_path: Path) -> None:
    import keras

    L = keras.layers
    small(L.Dense(4, "softmax"), L.Dropout(0.3), shape=(6,)).save(tmp_path / "behind.keras")
    stored = import_model(tmp_path / "behind.keras", name="behind", tasks={None: "classification"})
    assert any("dropout behind its softmax" in warning for warning in stored.card.warnings)


def test_a_model_whose_noise_is_not_all_drawn_is_not_stored(tmp_path: Path, store: Path) -> None:
    import keras

    module = tmp_path / "frozen.py"
    module.write_text(
        "import keras, numpy as np\nDRAW = np.random.default_rng(0)\n"
        "@keras.saving.register_keras_serializable('frozen')\n"
        "class Frozen(keras.layers.Layer):\n"
        "    def call(self, x, training=None):\n"
        "        return x + DRAW.normal(size=(1, 6)).astype('float32') if training else x\n"
    )
    from thinned.models.storage.custom_layers import run_module

    frozen = run_module(module).Frozen
    L = keras.layers
    small(frozen(), L.Dropout(0.2), L.Dense(1), shape=(6,)).save(tmp_path / "frozen.keras")
    with pytest.raises(UnsupportedModelError, match=r"over Keras's own draws with training=True"):
        import_model(tmp_path / "frozen.keras", name="frozen", tasks={None: "regression"}, module=module)
    assert not list(store.rglob("*.keras"))


def test_recorded_answers_must_come_again(files: Path, tmp_path: Path, store: Path) -> None:
    import keras

    y = keras.models.load_model(files / "sound.keras", compile=False).predict(X, verbose=0)
    kept: Any = {"name": "kept", "tasks": {None: "regression"}}
    record = tmp_path / "outputs.npz"
    for arrays in ({"x": X, "y": y}, {"x": X.astype("float64"), "y": y * (1 + 5e-5)}):
        np.savez(record, **arrays)
        assert import_model(files / "sound.keras", expect=record, **kept).card.name == "kept"
    before = len(list(store.rglob("*.keras")))
    for arrays, reason in (
        (
            {"x": X, "y": y + np.float32([[0, 0.5]])},
            r"'y' differs from outputs.npz by up to 0.5, where the largest.*look at",
        ),
        ({"x": X, "y": y[:2]}, "was recorded as 2×2, and the model answers 3×2"),
        ({"x": X[:, :3], "y": y}, "does not take its inputs"),
        ({"x": X}, r"expected arrays named y \(or y\), received x"),
        ({"x": X, "y": y * np.nan}, "not finite"),
    ):
        np.savez(record, **arrays)
        with pytest.raises(UnsupportedModelError, match=reason):
            import_model(files / "sound.keras", expect=record, **kept)
    assert len(list(store.rglob("*.keras"))) == before
    np.savez(record, x=np.asarray(["a", {}], dtype=object), y=y)
    for path, reason in (
        (record, "numpy.savez"),
        (tmp_path / "no.npz", "No such file"),
        (files / "cut.keras", "savez"),
    ):
        with pytest.raises(ModelFileError, match=reason):
            import_model(files / "sound.keras", expect=path, **kept)


def test_an_old_file_is_stored_as_a_new_one(tmp_path: Path) -> None:
    import keras

    model = small(
        keras.layers.Dense(6, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(2), shape=(4,)
    )
    model.save(tmp_path / "old.h5")
    np.savez(tmp_path / "outputs.npz", x=X, y=model.predict(X, verbose=0))
    stored = import_model(tmp_path / "old.h5", name="old", tasks={None: "regression"}, expect=tmp_path / "outputs.npz")
    assert "Converted from HDF5 saved by Keras 3." in stored.card.warnings[0]
    assert stored.card.warnings[0].endswith("(old.h5). It gives the answers recorded in outputs.npz.")
    assert stored.card.sha256 == model_store.digest(stored.path / "model.keras")
    assert [site.kind for site in stored.card.sites] == ["Dropout"]
    again = enable_mc_dropout(model_store.load_keras(stored))
    assert_allclose(
        again.predict({again.inputs[0].name: X})[again.outputs[0].name], model.predict(X, verbose=0), rtol=1e-5
    )


def test_the_same_import_is_the_same_version(files: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"name": "again", "tasks": {None: "regression"}}
    first = import_model(files / "sound.keras", **asked)
    assert import_model(files / "sound.keras", **asked) == first
    copied = tmp_path / "copied.keras"
    copied.write_bytes((files / "sound.keras").read_bytes())
    assert import_model(copied, **asked) == first
    noted = import_model(copied, **asked, note="trained on May's data")
    assert noted.version != first.version
    assert noted.card.note == "trained on May's data"
    # The newest import of them is the latest, also where it makes no new version.
    assert import_model(copied, **asked) == first == model_store.find("again")
    assert len(model_store.tags("again")) == 2
    # A damaged version is no reason not to import it.
    (first.path / "model.keras").write_bytes(b"broken")
    assert import_model(copied, **asked).version not in (first.version, noted.version)


def test_a_version_that_answers_something_else_is_refused(files: Path) -> None:
    asked: dict[str, Any] = {"name": "other", "tasks": {None: "regression"}}
    first = import_model(files / "sound.keras", **asked)
    classes: dict[str, Any] = {"name": "other", "tasks": {None: "classification"}, "labels": ["a", "b", "c"]}
    with pytest.raises(
        ModelDiffersError,
        match=rf"take the place of {first.tag}.*shape of the output 'kind' \(3\) where it was \(2\); "
        "task of the output 'kind' classification where it was regression.*--replace",
    ):
        import_model(files / "softmax.keras", **classes)
    assert model_store.tags("other") == [first.tag]
    second = import_model(files / "softmax.keras", **classes, replace=True)
    assert model_store.find("other") == second
    with pytest.raises(ModelDiffersError, match=r"labels of the output 'kind' \(c, b, a\) where it was \(a, b, c\)"):
        import_model(files / "softmax.keras", **{**classes, "labels": ["c", "b", "a"]})
    # Also where it would make no new version.
    with pytest.raises(ModelDiffersError):
        import_model(files / "sound.keras", **asked)
    assert import_model(files / "sound.keras", **asked, replace=True) == first == model_store.find("other")


def test_the_same_import_of_what_was_calibrated_stays_calibrated(files: Path) -> None:
    asked: dict[str, Any] = {"name": "fitted", "tasks": {None: "regression"}}
    first = import_model(files / "sound.keras", **asked)
    output = first.card.outputs[0].model_copy(update={"noise": (1.0, 1.0)})
    second = store_calibrated(first, output)
    assert import_model(files / "sound.keras", **asked) == second == model_store.find("fitted")
    rollback("fitted")
    assert import_model(files / "sound.keras", **asked) == first == model_store.find("fitted")
