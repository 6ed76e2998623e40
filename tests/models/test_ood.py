"""By which features rows are compared, which models cannot be, and what is kept beside the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinned.models.calibration import fit, fit_ood, store_calibrated
from thinned.models.card import InputSpec
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.prefix_features import prefix_features
from thinned.models.errors import CalibrationError, ModelCorruptError
from thinned.models.loading import load_scorer, load_stored
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model
from thinned.models.storage.stored_model import OOD_FILE, verify_files

ROWS = np.random.default_rng(0)


def hidden() -> Any:
    from keras import Input, Model, layers

    x = Input((3,), name="x")
    return Model(x, layers.Dense(1)(layers.Dropout(0.5)(layers.Dense(8, "relu", name="first")(x))))


def half() -> Any:
    from keras import Input, Model, layers

    x = Input((3,), name="x")
    first = layers.Dense(8, "relu", dtype="mixed_bfloat16", name="first")(x)
    return Model(x, layers.Dense(1)(layers.Dropout(0.5)(first)))


def bare() -> Any:
    from keras import Input, Model, layers

    x = Input((4, 2), name="x")
    return Model(x, layers.Dense(1)(layers.Flatten()(layers.Dropout(0.5)(x))))


def maps() -> Any:
    from keras import Input, Model, layers

    x = Input((6, 6, 1), name="x")
    y = layers.SpatialDropout2D(0.5)(layers.Conv2D(16, 3, name="maps")(x))
    return Model(x, layers.Dense(1)(layers.GlobalAveragePooling2D()(y)))


def skipping() -> Any:
    from keras import Input, Model, layers

    x = Input((3,), name="x")
    first = layers.Dense(5, name="first")(x)
    second = layers.Dropout(0.5)(layers.Dense(4, name="second")(first))
    return Model(x, layers.Dense(1)(layers.Concatenate()([first, second])))


def coded() -> Any:
    from keras import Input, Model, layers

    x, n = Input((2,), dtype="int32", name="x"), Input((3,), name="n")
    y = layers.Flatten()(layers.Embedding(9, 4)(layers.Identity()(x)))
    return Model([x, n], layers.Dense(1)(layers.Dropout(0.5)(layers.Concatenate(name="joined")([y, n]))))


def masked() -> Any:
    from keras import Input, Model, layers

    x = Input((None,), dtype="int32", name="x")
    y = layers.Embedding(9, 4, mask_zero=True, name="words")(x)
    return Model(x, layers.Dense(1)(layers.LSTM(3, dropout=0.5)(y)))


CASES: dict[str, tuple[Callable[[], Any], tuple[str, ...], int]] = {
    "hidden": (hidden, ("first",), 8),
    "the input itself": (bare, ("x",), 8),
    "means of maps": (maps, ("maps",), 16),
    "several tensors": (skipping, ("first", "second"), 9),
    "behind a table": (coded, ("joined",), 11),
    "half precision": (half, ("first",), 8),
    "a length that varies": (masked, ("words",), 4),
}


def told_by(make: Callable[[], Any]) -> tuple[StochasticModel, Any]:
    model = enable_mc_dropout(make())
    return model, prefix_features(model, model.inputs, model.split.frontier)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_told_by_what_reaches_the_first_site(case: str) -> None:
    make, names, numbers = CASES[case]
    model, told = told_by(make)
    rows = model.examples.rows(5)
    features = told.of(model.prefix(rows))
    assert (told.names, told.numbers, features.shape) == (names, numbers, (5, numbers))
    one = told.of(model.prefix({name: x[2:3] for name, x in rows.items()}))
    np.testing.assert_allclose(one[0], features[2], rtol=1e-5, atol=1e-6)
    if case == "the input itself":
        np.testing.assert_array_equal(features, rows["x"].reshape(5, -1))


def test_numbers_of_an_input_have_units_of_their_own() -> None:
    model, told = told_by(bare)
    rows = ROWS.normal(size=(50, 8)).astype("float32") * [1, 1e6, 1e-3, 1, 1, 1, 1, 0] + [0, 5, 5, 5, 5, 5, 5, 7]
    np.testing.assert_allclose(told.scale(rows), np.where(rows.std(axis=0) > 0, rows.std(axis=0), 7), rtol=1e-5)
    model, told = told_by(skipping)
    scale = told.scale(told.of(model.prefix(model.examples.rows(20))))
    assert len(set(scale[:5])) == len(set(scale[5:])) == 1
    assert scale[0] != scale[5]


def test_padding_that_is_masked_changes_nothing() -> None:
    model, told = told_by(masked)
    short = np.array([[3, 4, 5], [1, 2, 8]], "int32")
    long = np.pad(short, ((0, 0), (0, 4)))
    np.testing.assert_allclose(told.of(model.prefix({"x": long})), told.of(model.prefix({"x": short})), rtol=1e-6)


def test_names_of_things_have_no_distances() -> None:
    from keras import Input, Model, layers

    x = Input((2,), dtype="int32", name="x")
    y = layers.Flatten()(layers.Embedding(9, 4)(x))
    model = enable_mc_dropout(Model(x, layers.Dense(1)(layers.Dropout(0.5)(y))))
    table = InputSpec(name="x", shape=(2,), dtype="int32", table_size=9)
    assert prefix_features(model, [table], model.split.frontier).numbers == 8  # behind the table they have

    class Subclass(Model):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.drop, self.last = layers.Embedding(9, 4), layers.Dropout(0.5), layers.Dense(1)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.last(self.drop(self.table(x), training=training))

    opaque = Subclass()
    opaque(np.zeros((1, 2), "int32"))
    whole = enable_mc_dropout(opaque, input_specs=[InputSpec(name="x", shape=(2,), dtype="int32")])
    with pytest.raises(CalibrationError, match=r"x holds numbers of a table. Without --ood the rest is calibrated"):
        prefix_features(whole, [table], ["x"])
    counts = InputSpec(name="x", shape=(2,), dtype="int32")
    assert prefix_features(whole, [counts], ["x"]).numbers == 2


def test_padding_that_nothing_tells_is_refused() -> None:
    from keras import Input, Model, layers

    x = Input((None, 3), name="x")
    model = enable_mc_dropout(Model(x, layers.Dense(1)(layers.GlobalAveragePooling1D()(layers.Dropout(0.5)(x)))))
    open_length = InputSpec(name="x", shape=(None, 3), dtype="float32")
    assert prefix_features(model, [open_length], ["x"]).numbers == 3
    padded = open_length.model_copy(update={"padding": 0})
    with pytest.raises(CalibrationError, match="x has positions that are padding, and no mask that tells them"):
        prefix_features(model, [padded], ["x"])


def test_it_is_kept_beside_the_model_and_proved(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    hidden().save(tmp_path / "m.keras")
    first = import_model(tmp_path / "m.keras", name="unlike", tasks={None: "regression"})
    model, draw = load_stored(first), np.random.default_rng(2)
    rows, targets = {"x": draw.normal(size=(60, 3)).astype("float32")}, draw.normal(size=(60, 1))
    assert load_scorer(first, model) is None
    found = fit(model, first.card.outputs[0], rows, targets, n_samples=32)
    second = store_calibrated(first, found.spec, ood=fit_ood(model, first.card, rows))
    assert second.card.ood is not None
    assert (second.card.ood.n, second.card.ood.reference, second.card.ood.tensors) == (30, 30, ("first",))
    verify_files(second)
    third = store_calibrated(second, found.spec)
    assert third.card.ood == second.card.ood
    assert (third.path / OOD_FILE).read_bytes() == (second.path / OOD_FILE).read_bytes()
    scorer = load_scorer(model_store.find("unlike"), model)
    assert scorer is not None
    far = scorer.of_rows(model, {"x": rows["x"] + 50})
    assert far.p_value == pytest.approx(1 / 31)
    with (third.path / OOD_FILE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelCorruptError, match=r"ood\.npz of unlike:\w+ is not the file"):
        load_scorer(model_store.find("unlike"), model)


def test_with_a_reference_all_calibration_rows_are_scored_and_groups_are_counted(tmp_path: Path) -> None:
    model = enable_mc_dropout(hidden())
    hidden().save(tmp_path / "m.keras")
    card = import_model(tmp_path / "m.keras", name="referred", tasks={None: "regression"}).card
    rows = {"x": ROWS.normal(size=(40, 3)).astype("float32")}
    found = fit_ood(model, card, rows, reference={"x": ROWS.normal(size=(2500, 3)).astype("float32")}).card
    assert (found.n, found.reference, found.counted) == (40, 2000, "rows")
    both = {"x": np.concatenate([rows["x"][:30], ROWS.normal(size=(7, 3))])}
    assert fit_ood(model, card, rows, reference=both).card.reference == 7
    with pytest.raises(CalibrationError, match="every row of --reference is among the calibration rows"):
        fit_ood(model, card, rows, reference=rows)
    found = fit_ood(model, card, rows, groups=np.repeat(np.arange(10), 4)).card
    assert (found.n, found.reference, found.counted) == (5, 20, "groups")
