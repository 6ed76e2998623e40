"""The laws of passes on exported files, in a process that imports TensorFlow alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.models.export.exported import CASES, SEED, Case, Exported, certain, export
from thinned.models.export.proving import BareAnswers, call_bare
from thinned.models.export.signatures import PASSES, PREDICT, SAMPLE
from thinned.models.uncertainty.answer import answer_output

Answers = dict[str, np.ndarray]


class Run(NamedTuple):
    files: dict[str, Exported]
    answers: dict[str, dict[str, Answers]]
    refused: list[str]
    bare: BareAnswers


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All files, and what one process that imports TensorFlow alone answered of them."""
    folder = tmp_path_factory.mktemp("exported")
    files = {name: export(case, folder / name) for name, case in CASES.items()}
    calls = [(name, law, call) for name, file in files.items() for law, call in file.calls().items()]
    one = files["perceptron"]
    wrong = [one.call(PASSES, 1, SEED), one.call(SAMPLE, 10, -1), one.call(PASSES, 10, 2**53)]
    image = files["convolutional"]
    wrong.append(
        replace(image.call(PREDICT), inputs={key: np.zeros((1, 9, 9, 1)) for key in image.call(PREDICT).inputs})
    )
    bare = call_bare([call for *_, call in calls] + wrong)
    answers: dict[str, dict[str, Answers]] = {name: {} for name in files}
    for (name, law, _), found in zip(calls, bare.answers, strict=False):
        answers[name][law] = found
    refused = [bare.refused.pop(len(calls) + i, "") for i in range(len(wrong))]
    return Run(files, answers, refused, bare)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, run: Run) -> tuple[Exported, dict[str, Answers]]:
    return run.files[request.param], run.answers[request.param]


def close(a: Answers, b: Any, *, tolerance: float = 5e-6) -> None:
    assert a.keys() == b.keys()
    for name, x in a.items():
        np.testing.assert_allclose(x, b[name], rtol=0, atol=tolerance * np.abs(b[name]).max(initial=0), err_msg=name)


def test_the_process_has_nothing_of_ours_and_refuses_nothing(run: Run) -> None:
    assert run.bare.refused == {}
    assert "tensorflow" in run.bare.modules
    assert not [name for name in run.bare.modules if name.split(".")[0] in ("thinned", "bentoml", "pydantic")]


def test_the_plain_answer_is_keras_own(case: tuple[Exported, dict[str, Answers]]) -> None:
    file, answers = case
    close(answers["predict"], file.model.reference(file.rows))
    close(answers["predict later"], answers["predict"], tolerance=0)


def test_no_variable_changes(case: tuple[Exported, dict[str, Answers]]) -> None:
    file, _ = case
    for before, variable in zip(file.before, file.model.keras_model.variables, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())


def test_the_passes_are_those_of_the_engine(case: tuple[Exported, dict[str, Answers]]) -> None:
    file, answers = case
    close(answers["few"], file.model.sample(file.rows, n_samples=10, seed=SEED))
    close(answers["many"], file.model.sample(file.rows, n_samples=100, seed=SEED))


def test_the_same_seed_gives_the_same_passes_and_another_does_not(case: tuple[Exported, dict[str, Answers]]) -> None:
    _, answers = case
    close(answers["again"], answers["few"], tolerance=0)
    assert any((answers["few"][name] != x).any() for name, x in answers["other"].items())


def test_ten_passes_are_the_first_ten_of_a_hundred(case: tuple[Exported, dict[str, Answers]]) -> None:
    _, answers = case
    close(answers["few"], {name: x[: len(answers["few"][name])] for name, x in answers["many"].items()})


def test_neighbours_do_not_matter(case: tuple[Exported, dict[str, Answers]]) -> None:
    _, answers = case
    for name, x in answers["few"].items():
        scale = np.abs(x).max()
        np.testing.assert_allclose(answers["alone"][name], x[:, 1:2], rtol=0, atol=5e-6 * scale)


def test_mean_variance_and_entropies_are_those_of_the_api(case: tuple[Exported, dict[str, Answers]]) -> None:
    file, answers = case
    told = dict(answers["moments"])
    statistics = file.model.summary(file.rows, n_samples=100, seed=SEED)
    for spec in file.functions.outputs:
        answer = answer_output(spec, statistics[spec.name], sampling="stratified", calibrated=True)
        prefix = f"{spec.name}/" if len(file.functions.outputs) > 1 else ""
        fields = ["mean", "variance"]
        if spec.task == "classification":
            fields += ["predictive_entropy", "expected_entropy", "mutual_information"]
        fields += ["mean_probabilities"] if spec.scale == "logits" else []
        fields += ["variance_within", "variance_between"] if spec.members > 1 else []
        for field in fields:
            own = getattr(answer, field)
            assert own.min() >= 0 or field == "mean"
            # What is small is a difference of what is not: an entropy of nats, a variance of squares.
            size = max(np.abs(own).max(), "entropy" in field or field == "mutual_information")
            most = (1e-5 if field.startswith("variance") else 1e-6) * size
            np.testing.assert_allclose(told.pop(prefix + field), own, rtol=0, atol=most)
    assert not told


def test_a_linear_network_meets_its_closed_form(run: Run) -> None:
    file, answers = run.files["linear"], run.answers["linear"]
    weights, bias = file.model.keras_model.get_weights()
    (rows,) = file.rows.values()
    mean, variance = rows @ weights + bias, 0.25 / 0.75 * rows**2 @ weights**2
    np.testing.assert_allclose(answers["moments"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(answers["moments"]["variance"], variance, rtol=1e-5)
    (passes,) = answers["many"].values()
    error = np.sqrt(variance / 100)
    assert (np.abs(passes.mean(axis=0) - mean) < 5 * error).all()
    np.testing.assert_allclose(passes.var(axis=0, ddof=1), variance, rtol=0.5)


def test_what_the_api_refuses_is_refused(run: Run) -> None:
    passes, negative, large, shape = run.refused
    assert "Shape of tensor" in shape
    assert "n_samples: expected an integer of 2 or more" in passes
    assert "seed: expected an integer from 0 to 2**53 - 1" in negative
    assert "seed: expected an integer from 0 to 2**53 - 1" in large


def test_memory_does_not_grow_with_the_passes(run: Run) -> None:
    """No tensor of the graph holds all passes: the loop's own state has the shape of an answer."""
    graph = run.files["perceptron"].functions.traced()[PASSES].get_concrete_function().graph
    (loop,) = [op for op in graph.get_operations() if op.type == "While"]
    held = {tuple(x.shape) for x in loop.outputs if x.dtype.is_floating and x.shape.rank}
    assert held == {(None, 2), (None, 8)}  # moments of the output, and what the prefix made


def test_a_model_without_noise_has_its_plain_answer_alone(tmp_path: Any) -> None:
    file = export(Case(certain), tmp_path / "file")
    assert list(file.functions.traced()) == [PASSES, PREDICT]


def test_names_that_would_be_taken_twice_are_refused(run: Run) -> None:
    file = run.files["several"]
    assert file.functions.keys == {"first of two": "first_of_two", "2nd": "input_2nd"}
    for names in (("seed", "x"), ("a b", "a_b")):
        specs = tuple(s.model_copy(update={"name": n}) for s, n in zip(file.model.inputs, names, strict=True))
        renamed = type("Renamed", (), {"inputs": specs})()
        with pytest.raises(Exception, match="would be called"):
            _ = replace(file.functions, model=renamed).keys
