"""What the stored model answers, in a process of its own that knows nothing of how it was built.

The laws were checked by the import, and the audit's findings stand on the card that it wrote; here the laws that
answers rest on are checked once more on what was loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from tests.zoo_run.keras_side import units

PASSES = 2000
ROWS = 4
FEW = 8


def run(connection: Connection, name: str) -> None:
    """Load the model; send rows with its answers, then its passes, then what its laws and its audit say."""
    from thinned import load
    from thinned.models.storage.model_store import find

    model = load(name)
    rows = model.examples.rows(ROWS, seed=7)
    plain = model.predict(rows)
    connection.send({"rows": rows, "plain": list(plain.values()), "half": model.half_precision})
    row = {key: x[1:2] for key, x in rows.items()}
    passes = model.sample(row, n_samples=PASSES, seed=11) if model.sites else {}
    connection.send(
        {
            "row": row,
            "passes": [units(x[:, 0].reshape(len(x), -1)) for x in passes.values()],
            "sites": [site.kind for site in model.sites],
        }
    )
    audit = find(name).card.audit
    errors = [f"{found.code}: {found.text}" for found in audit.findings if found.level == "error"] if audit else []
    connection.send({"laws": broken_laws(model, rows, row, plain, passes), "audit": errors, "audited": bool(audit)})


def broken_laws(model: Any, rows: Any, row: Any, plain: Mapping[str, Any], passes: Mapping[str, Any]) -> list[str]:
    """Answers repeat bit for bit, rows do not see each other, the first passes of many are those of few."""
    broken = []
    if not all(np.array_equal(plain[key], x) for key, x in model.predict(rows).items()):
        broken.append("the plain answer does not repeat")
    if not _close(model, {key: x[1:2] for key, x in plain.items()}, model.predict(row)):
        broken.append("the plain answer to a row depends on the others")
    if passes:
        few, again = (model.sample(rows, n_samples=FEW, seed=11) for _ in range(2))
        if not all(np.array_equal(few[key], x) for key, x in again.items()):
            broken.append("the same seed gives other passes")
        if not _close(model, {key: x[:, 1:2] for key, x in few.items()}, {key: x[:FEW] for key, x in passes.items()}):
            broken.append("the passes of a row alone are not those among others")
    return broken


def _close(model: Any, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    tolerance = 3e-2 if model.half_precision else 1e-3
    return all(
        np.allclose(x, b[key], rtol=0, atol=tolerance * (np.abs(x).max(initial=0.0) + 1e-12)) for key, x in a.items()
    )
