"""The laws of passes on ONNX files, in a process that imports ONNX Runtime alone; where tf2onnx is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.export.exported import CASES, SEED, Exported, export
from thinned.models.export.onnx_files import ONNX_PASSES, write_onnx
from thinned.models.export.proving import BareAnswers, call_bare
from thinned.models.export.signatures import PREDICT, SAMPLE

for package in ("tf2onnx", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason='pip install "thinned[onnx]"')

Found = tuple[Exported, BareAnswers]


@pytest.fixture(scope="module", params=["perceptron", "several"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("onnx")
    file = export(CASES[request.param], folder / "saved_model")
    file.folder = folder / "onnx"
    write_onnx(file.functions, file.folder)
    calls = [
        file.call(PREDICT),
        file.call(SAMPLE, 10, SEED),
        file.call(SAMPLE, 10, SEED),
        file.call(SAMPLE, 100, SEED),
        file.call(SAMPLE, 10, SEED, rows=slice(1, 2)),
        file.call(ONNX_PASSES, 100, SEED),
        file.call(ONNX_PASSES, 1, SEED),
        file.call(ONNX_PASSES, 10, -1),
    ]
    return file, call_bare(calls)


def close(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, x in a.items():
        np.testing.assert_allclose(x, b[name], rtol=0, atol=1e-5 * np.abs(b[name]).max(), err_msg=name)


def test_the_process_has_no_tensorflow(found: Found) -> None:
    _, bare = found
    assert bare.refused == {}
    assert not {"tensorflow", "keras", "thinned"} & set(bare.modules)


def test_the_laws_hold(found: Found) -> None:
    file, bare = found
    plain, few, again, many, alone, moments, *wrong = bare.answers
    close(plain, file.model.reference(file.rows))
    close(few, file.model.sample(file.rows, n_samples=10, seed=SEED))
    close(many, file.model.sample(file.rows, n_samples=100, seed=SEED))
    close(alone, {name: x[:, 1:2] for name, x in few.items()})
    for name, x in few.items():
        np.testing.assert_array_equal(x, again[name])
        close({name: x}, {name: many[name][:10]})
    statistics = file.model.summary(file.rows, n_samples=100, seed=SEED)
    for name, told in statistics.items():
        prefix = f"{name}/" if len(statistics) > 1 else ""
        close({"": moments[f"{prefix}mean"]}, {"": told.mean})
        close({"": moments[f"{prefix}variance"]}, {"": told.variance})
    for answer in wrong:  # ONNX has no assertions
        assert all(np.isnan(x).all() for x in answer.values())


def test_the_engine_draws_on_as_before(found: Found, tmp_path: Path) -> None:
    file, _ = found
    graphs = dict(file.model.graphs._compiled)
    assert any(op.type == "StatelessRandomUniformFullIntV2" for x in graphs.values() for op in x.graph.get_operations())
