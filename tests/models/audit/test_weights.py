"""A weight that is no number is found first, by name, and nothing else is judged by what came of it."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.audit.audited import audited, network

L = keras.layers


class Block(L.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense, self.drop = L.Dense(4, name="dense"), L.Dropout(0.3)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.drop(self.dense(x), training=training)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_named_and_nothing_else_is_found(value: float) -> None:
    block = Block(name="block")
    model = network(block, L.BatchNormalization(), L.Dense(2, "softmax"))
    kernel = block.dense.kernel.numpy()
    kernel[0, :2] = value
    block.dense.kernel.assign(kernel)
    found = audited(model)
    (finding,) = found.findings
    assert (finding.level, finding.code, finding.site) == ("error", "weights-not-finite", "block/dense")
    assert "variable kernel holds NaN or infinity (2 of 24 numbers)" in finding.text
    assert "NaN or infinity" in found.verdict
    assert found.sites == ()
    json.dumps(found.to_json(), allow_nan=False)


def test_a_model_that_diverged_names_the_first_variables_and_counts_the_others() -> None:
    model = network(L.Dense(4), L.Dropout(0.2), L.BatchNormalization(), L.Dense(2))
    for variable in model.weights:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    found = audited(model, short=True)
    assert [finding.code for finding in found.findings] == ["weights-not-finite"] * 5
    assert f"So do {len(model.weights) - 5} more variables" in found.findings[-1].text
