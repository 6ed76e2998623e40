"""What the stored model answers, in a process of its own that knows nothing of how it was built."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Any

from tests.zoo_run.keras_side import units

PASSES = 2000
ROWS = 4


def run(connection: Connection, name: str) -> None:
    """Load the model; send rows with its answers, then its passes, then what its laws and its audit say."""
    from thinned import ThinnedError, load
    from thinned.models.audit.run import audit
    from thinned.models.dropout import check_laws, check_untouched

    model = load(name)
    rows = model.examples.rows(ROWS, seed=7)
    connection.send({"rows": rows, "plain": list(model.predict(rows).values()), "half": model.half_precision})
    row = {key: x[1:2] for key, x in rows.items()}
    passes = model.sample(row, n_samples=PASSES, seed=11) if model.sites else {}
    connection.send(
        {
            "row": row,
            "passes": [units(x[:, 0].reshape(len(x), -1)) for x in passes.values()],
            "sites": [site.kind for site in model.sites],
        }
    )
    connection.send({"laws": _first_broken(ThinnedError, model, check_untouched, check_laws)})
    found = audit(model, short=True).findings
    connection.send({"audit": [f"{finding.code}: {finding.text}" for finding in found if finding.level == "error"]})


def _first_broken(error_type: Any, model: Any, check_untouched: Any, check_laws: Any) -> str | None:
    try:
        check_untouched(model, model.keras_model)
        check_laws(model)
    except error_type as error:
        return str(error)
    return None
