"""A small model that takes tables, arrays and images, and rows for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tests.service.cli.conftest import thinned
from thinned.models.storage.importing import import_model

__all__ = ["thinned"]

L = keras.layers
SHAPE = (2, 3)
COLUMNS = [f"x_{i}" for i in range(6)]


@dataclass(frozen=True)
class Rows:
    """Rows of the model `rowwise`: as an array, and as a table that has other columns too."""

    x: Any
    table: Any
    file: Path


@pytest.fixture(scope="session")
def rowwise() -> str:
    """A model of two by three numbers a row, two numbers out."""
    keras.utils.set_random_seed(11)
    inputs = keras.Input(SHAPE, name="x")
    hidden = L.Dropout(0.4)(L.Dense(16, "relu")(L.Flatten()(inputs)))
    model = keras.Model(inputs, L.Dense(2, name="y")(L.Dropout(0.2)(L.Dense(8, "relu")(hidden))))
    return _imported(model, "rowwise")


@pytest.fixture(scope="session")
def ragged() -> str:
    """A model of rows of different length, which a request fills up to its longest."""
    keras.utils.set_random_seed(12)
    inputs = keras.Input((None,), dtype="int32", name="tokens")
    hidden = L.GlobalAveragePooling1D()(L.Embedding(10, 4, mask_zero=True)(inputs))
    model = keras.Model(inputs, L.Dense(3, "softmax", name="kind")(L.Dropout(0.5)(hidden)))
    return _imported(model, "ragged", "classification")


def _imported(model: Any, name: str, task: Any = "regression") -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / f"{name}.keras")
        return import_model(Path(folder) / f"{name}.keras", name=name, tasks={None: task}).tag


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """40 rows of whole pixels, of which the last is the first again."""
    x = np.random.default_rng(1).integers(0, 256, (40, *SHAPE)).astype("float32")
    x[-1] = x[0]
    columns: dict[str, Any] = dict(zip(COLUMNS, x.reshape(40, 6).T, strict=True))
    columns |= {"größe": [f"s{i % 3}" for i in range(40)], "mean_0": np.arange(40), "id": [7] * 40}
    table = pyarrow.table(columns)
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=16)
    return Rows(x, table, tmp_path / "rows.parquet")
