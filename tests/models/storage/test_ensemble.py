"""Ensembles of stored models: the laws of their answers, what is stored, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L
from scipy.special import softmax

from thinned.models.dropout import BatchItem, StochasticModel, check_laws
from thinned.models.errors import ModelDiffersError, ModelExistsError, UnsupportedModelError, UsageError
from thinned.models.loading import load_stored
from thinned.models.storage.ensemble import make_ensemble
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel, delete, find

ROWS = {"x": np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)}
Store = Callable[..., StoredModel]


def network(seed: int, rate: float = 0.4, *, units: int = 1, name: str = "y", last: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = keras.Input((3,), name="x")
    hidden = L.Dropout(rate)(L.Dense(12, "relu")(x))
    return keras.Model(x, L.Dense(units, last, name=name)(L.Dense(8, "tanh")(hidden)))


@pytest.fixture(scope="module")
def put(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Stores a network under a name."""
    folder = tmp_path_factory.mktemp("members")

    def put(name: str, model: keras.Model, task: Any = "regression", **options: Any) -> StoredModel:
        model.save(folder / f"{name}.keras")
        tasks = task if isinstance(task, dict) else {None: task}
        return import_model(folder / f"{name}.keras", name=f"ens-{name}", tasks=tasks, **options)

    return put


@pytest.fixture(scope="module")
def noisy(put: Store) -> list[StoredModel]:
    return [put(f"noisy-{seed}", network(seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def still(put: Store) -> list[StoredModel]:
    return [put(f"still-{seed}", network(seed, 0.0)) for seed in range(2)]


@pytest.fixture(scope="module")
def ensemble(noisy: list[StoredModel]) -> StoredModel:
    return make_ensemble(noisy, name="ens-all")


@pytest.fixture(scope="module")
def loaded(ensemble: StoredModel) -> StochasticModel:
    return load_stored(ensemble)


@pytest.fixture(scope="module")
def own(noisy: list[StoredModel]) -> list[StochasticModel]:
    return [load_stored(member) for member in noisy]


def test_the_card_names_the_members_and_an_ensemble_is_made_once(
    ensemble: StoredModel, noisy: list[StoredModel]
) -> None:
    card = ensemble.card
    assert [(m.name, m.version, m.sha256) for m in card.members] == [
        (m.card.name, m.version, m.card.sha256) for m in noisy
    ]
    assert [output.members for output in card.outputs] == [3]
    assert {site.path.partition("/")[0] for site in card.sites} == {"member_1", "member_2", "member_3"}
    assert card.has_passes
    assert make_ensemble(noisy, name="ens-all").version == ensemble.version
    assert make_ensemble(noisy[::-1], name="ens-all").version != ensemble.version


def test_the_deterministic_answer_is_the_mean_of_the_members_own(loaded: StochasticModel, noisy: Any) -> None:
    from thinned.models.storage.model_store import load_keras

    answers = [np.asarray(load_keras(member)(ROWS["x"], training=False)) for member in noisy]
    np.testing.assert_allclose(loaded.predict(ROWS)["y"], np.mean(answers, axis=0), rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_passes_and_ten_are_the_first_of_a_hundred(loaded: StochasticModel) -> None:
    for sampling in ("stratified", "independent"):
        ten = loaded.sample(ROWS, n_samples=10, seed=3, sampling=sampling)["y"]
        hundred = loaded.sample(ROWS, n_samples=100, seed=3, sampling=sampling)["y"]
        assert ten.shape == (30, 4, 1)
        np.testing.assert_array_equal(ten, loaded.sample(ROWS, n_samples=10, seed=3, sampling=sampling)["y"])
        np.testing.assert_allclose(hundred[:30], ten, rtol=1e-5, atol=1e-6)
        pieces = loaded.sample(ROWS, n_samples=100, seed=3, sampling=sampling, row_passes=64)["y"]
        np.testing.assert_allclose(pieces, hundred, rtol=1e-5, atol=1e-6)


def test_neighbours_and_other_requests_do_not_matter(loaded: StochasticModel) -> None:
    whole = loaded.sample(ROWS, n_samples=40, seed=3)["y"]
    alone = loaded.sample({"x": ROWS["x"][2:3]}, n_samples=40, seed=3)["y"]
    np.testing.assert_allclose(whole[:, 2:3], alone, rtol=1e-5, atol=1e-6)
    items = [BatchItem(4, seed, 0, count, inputs=ROWS, keep_passes=True) for seed, count in ((3, 40), (8, 64))]
    first, second = (part["y"].passes for part in loaded.draw(items))
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second, loaded.sample(ROWS, n_samples=64, seed=8)["y"], rtol=1e-5, atol=1e-6)


def test_passes_are_those_of_the_members_and_their_noise_is_independent(
    loaded: StochasticModel, own: list[StochasticModel]
) -> None:
    passes = loaded.sample(ROWS, n_samples=4096, seed=1, sampling="independent")["y"].reshape(4096, 3, 4)
    for i, member in enumerate(own):
        alone = member.sample(ROWS, n_samples=4096, seed=2, sampling="independent")["y"][..., 0]
        error = np.sqrt((passes[:, i].var(axis=0) + alone.var(axis=0)) / 4096)
        assert (np.abs(passes[:, i].mean(axis=0) - alone.mean(axis=0)) < 5 * error).all()
        np.testing.assert_allclose(passes[:, i].var(axis=0), alone.var(axis=0), rtol=0.2)
    correlations = np.corrcoef(passes[:, :, 0].T)[np.triu_indices(3, 1)]
    assert (np.abs(correlations) < 5 / 64).all()


@pytest.mark.parametrize("estimator", ["best", "passes"])
def test_the_parts_of_the_variance_are_those_of_the_members(
    loaded: StochasticModel, own: list[StochasticModel], estimator: Any
) -> None:
    found = loaded.summary(ROWS, n_samples=2048, seed=1, estimator=estimator)["y"]
    alone = [member.summary(ROWS, n_samples=2048, seed=2, estimator=estimator)["y"] for member in own]
    assert found.parts is not None
    np.testing.assert_allclose(found.parts.within, np.mean([one.variance for one in alone], axis=0), rtol=0.1)
    np.testing.assert_allclose(found.parts.between, np.var([one.mean for one in alone], axis=0), rtol=0.1, atol=1e-3)
    errors = [one.standard_error("stratified")[0] for one in alone]
    said = found.standard_error("stratified")[0]
    np.testing.assert_allclose(said, np.sqrt(np.sum(np.square(errors), axis=0)) / 3, rtol=0.5)
    assert found.made == ("closed_form" if estimator == "best" else "passes") or found.made == "passes"


def test_one_model_twice_has_its_own_variance_within_and_none_between(noisy: list[StoredModel]) -> None:
    twice = load_stored(make_ensemble([noisy[0], noisy[0]], name="ens-twice"))
    alone = load_stored(noisy[0]).summary(ROWS, n_samples=4096, seed=7)["y"]
    found = twice.summary(ROWS, n_samples=4096, seed=7)["y"]
    assert found.parts is not None
    np.testing.assert_allclose(found.parts.within, alone.variance, rtol=0.1)
    assert (found.parts.between < 16 * alone.error_of_passes**2).all()


def test_members_without_dropout_cost_no_pass(still: list[StoredModel], noisy: list[StoredModel]) -> None:
    stored = make_ensemble(still, name="ens-deep")
    assert (stored.card.sites, stored.card.outputs[0].estimator, stored.card.audit) == ((), "exact", None)
    model = load_stored(stored)
    check_laws(model)
    answers = np.stack([load_stored(member).predict(ROWS)["y"] for member in still])
    for asked in ({"estimator": "best"}, {"estimator": "passes"}, {"row_passes": 2}):
        found = model.summary(ROWS, n_samples=1000, seed=1, **asked)["y"]  # type: ignore[arg-type]
        assert (found.count, found.made) == (1, "exact")
        np.testing.assert_allclose(found.variance, answers.var(axis=0), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(model.sample(ROWS, n_samples=50, seed=1)["y"], answers, rtol=1e-5, atol=1e-7)
    # Beside one that draws, it draws nothing.
    mixed = load_stored(make_ensemble([still[0], noisy[1]], name="ens-mixed"))
    passes = mixed.sample(ROWS, n_samples=32, seed=1)["y"].reshape(32, 2, 4)
    assert not np.ptp(passes[:, 0], axis=0).any()
    assert np.ptp(passes[:, 1], axis=0).all()


def test_one_model_twice_without_dropout_has_no_variance(still: list[StoredModel]) -> None:
    found = load_stored(make_ensemble([still[0]] * 2, name="ens-same")).summary(ROWS, n_samples=2, seed=0)["y"]
    assert not found.variance.any()


def test_no_variable_changes(loaded: StochasticModel) -> None:
    before = [variable.numpy() for variable in loaded.keras_model.variables]
    loaded.predict(ROWS)
    loaded.summary(ROWS, n_samples=64, seed=1)
    for old, variable in zip(before, loaded.keras_model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_logits_are_those_of_the_mean_probabilities(put: Store) -> None:
    members = [put(f"raw-{i}", network(i, units=3), "classification", scale="logits") for i in range(2)]
    model = load_stored(make_ensemble(members, name="ens-raw"))
    own = [load_stored(member).predict(ROWS)["y"] for member in members]
    expected = np.mean([softmax(logits, axis=-1) for logits in own], axis=0)
    np.testing.assert_allclose(softmax(model.predict(ROWS)["y"], axis=-1), expected, rtol=1e-5)


def test_several_inputs_and_outputs_are_matched_by_name(put: Store) -> None:
    def two(seed: int, turned: bool) -> keras.Model:
        keras.utils.set_random_seed(seed)
        a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
        hidden = L.Dropout(0.3)(L.Concatenate()([L.Dense(4)(a), L.Dense(4)(b)]))
        size, kind = L.Dense(1, name="size")(hidden), L.Dense(2, "softmax", name="kind")(hidden)
        return keras.Model([b, a], [kind, size]) if turned else keras.Model([a, b], [size, kind])

    task = {"size": "regression", "kind": "classification"}
    members = [put(f"two-{i}", two(i, i == 1), task) for i in range(2)]
    model = load_stored(make_ensemble(members, name="ens-two"))
    rows = {"a": np.ones((2, 2), np.float32), "b": np.full((2, 3), -1, np.float32)}
    own = [load_stored(member).predict(rows) for member in members]
    for name in task:
        np.testing.assert_allclose(model.predict(rows)[name], np.mean([o[name] for o in own], axis=0), rtol=1e-4)
    assert [output.name for output in model.outputs] == ["size", "kind"]
    found = model.summary(rows, n_samples=64, seed=1)
    assert found["kind"].mean_probabilities is not None
    np.testing.assert_allclose(found["kind"].mean_probabilities.sum(axis=-1), 1, rtol=1e-6)


@pytest.mark.long
def test_layers_of_one_s_own_text_and_lengths_that_vary(put: Store, layers_py: Path) -> None:
    from thinned.models.storage.custom_layers import run_module

    def own(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        x = keras.Input((4,), name="x")
        return keras.Model(x, L.Dense(1, name="y")(L.Dropout(0.5)(run_module(layers_py).Twice()(x))))

    def tokens(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        x = keras.Input((None,), name="tokens", dtype="int32")
        hidden = L.GlobalAveragePooling1D()(L.Embedding(9 + seed, 3, mask_zero=True)(x))
        return keras.Model(x, L.Dense(1, name="y")(L.Dropout(0.5)(hidden)))

    def words(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        x = keras.Input((1,), name="word", dtype="string")
        hidden = L.Flatten()(L.Embedding(5, 3)(L.StringLookup(vocabulary=["a", "b", "c"])(x)))
        return keras.Model(x, L.Dense(1, name="y")(L.Dropout(0.5)(hidden)))

    mine = [put(f"mine-{i}", own(i), module=layers_py) for i in range(2)]
    stored = make_ensemble(mine, name="ens-mine")
    assert stored.card.module_sha256 == mine[0].card.module_sha256
    assert load_stored(stored).predict({"x": np.ones((2, 4), np.float32)})["y"].shape == (2, 1)
    long = make_ensemble([put(f"tokens-{i}", tokens(i)) for i in range(2)], name="ens-tokens")
    assert long.card.inputs[0].table_size == 9
    assert load_stored(long).sample({"tokens": np.ones((2, 7), np.int32)}, n_samples=3, seed=0)["y"].shape == (6, 2, 1)
    text = make_ensemble([put(f"words-{i}", words(i)) for i in range(2)], name="ens-words")
    rows = {"word": np.array([["a"], ["zebra"]], object)}
    assert np.isfinite(load_stored(text).summary(rows, n_samples=40, seed=1)["y"].mean).all()


def test_inputs_may_have_names_that_are_no_names_of_graphs(put: Store) -> None:
    def named(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        inputs = {name: keras.Input((n,), name=name) for name, n in (("größe x", 1), ("q", 2))}
        hidden = L.Dropout(0.3)(L.Dense(4)(L.Concatenate()(list(inputs.values()))))
        return keras.Model(inputs, L.Dense(1, name="y")(hidden))

    members = [put(f"keys-{seed}", named(seed)) for seed in range(2)]
    model = load_stored(make_ensemble(members, name="ens-keys"))
    assert [spec.name for spec in model.inputs] == ["größe x", "q"]
    rows = {"q": np.float32([[1, 2]]), "größe x": np.float32([[-3]])}
    own = [load_stored(member).predict(rows)["y"] for member in members]
    np.testing.assert_allclose(model.predict(rows)["y"], np.mean(own, axis=0), rtol=1e-5)


def test_outputs_whose_names_differ_are_matched_by_order_and_the_card_says_so(put: Store, noisy: Any) -> None:
    other = put("named", network(9, name="price"))
    card = make_ensemble([noisy[0], other], name="ens-named").card
    assert [output.name for output in card.outputs] == ["y"]
    assert any("'price'" in warning and "order" in warning for warning in card.warnings)


def test_what_does_not_agree_is_named_with_its_member(put: Store, noisy: list[StoredModel]) -> None:
    first = noisy[0]
    wide = put("wide", network(1, units=2))
    kinds = put("kinds", network(1, last="sigmoid"), "classification", labels=("no", "yes"))
    other = put("other", network(1, last="sigmoid"), "classification", labels=("yes", "no"))
    long = keras.Sequential([keras.Input((5,)), L.Dropout(0.5), L.Dense(1, name="y")])
    for members, words in (
        ([first, wide], ("shape", "'y'", wide.tag, "(2)", "(1)")),
        ([first, kinds], ("task", kinds.tag, "classification")),
        ([kinds, other], ("labels", other.tag, "(yes, no)")),
        ([first, put("long", long)], ("shape of the input", "(5)", "(3)")),
        ([first, find("ens-all")], ("is an ensemble itself", noisy[1].tag)),
    ):
        with pytest.raises(UnsupportedModelError) as refused:
            make_ensemble(members, name="ens-no")
        for word in words:
            assert word in str(refused.value)
    with pytest.raises(UsageError, match="two members"):
        make_ensemble([first], name="ens-no")
    with pytest.raises(ModelExistsError):
        make_ensemble([first, first], name="No Name")
    with pytest.raises(ModelDiffersError):
        make_ensemble([first, first], name="ens-wide")


def test_different_modules_of_layers_are_refused(put: Store, layers_py: Path, tmp_path: Path) -> None:
    from thinned.models.storage.custom_layers import run_module

    other = tmp_path / "other.py"
    other.write_text(layers_py.read_text() + "\n# another\n")
    members = []
    for i, module in enumerate((layers_py, other)):
        x = keras.Input((4,), name="x")
        model = keras.Model(x, L.Dense(1, name="y")(L.Dropout(0.5)(run_module(module).Twice()(x))))
        members.append(put(f"module-{i}", model, module=module))
    with pytest.raises(UnsupportedModelError, match="one file"):
        make_ensemble(members, name="ens-no")


def test_members_may_be_deleted(put: Store, tmp_path: Path) -> None:
    members = [put(f"gone-{seed}", network(seed)) for seed in range(2)]
    stored = make_ensemble(members, name="ens-left")
    before = load_stored(stored).predict(ROWS)["y"]
    for member in members:
        delete(member.card.name)
    np.testing.assert_array_equal(load_stored(find("ens-left")).predict(ROWS)["y"], before)
