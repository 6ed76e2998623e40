"""`thinned train`: an example trained under a progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.examples import diabetes, digits
from thinned.service.cli.model_tables import print_scores
from thinned.service.cli.options import require_extra
from thinned.service.cli.output import console

if TYPE_CHECKING:
    from thinned.models.storage.model_store import StoredModel

__all__ = ["EXAMPLES", "train_example"]

EXAMPLES = {digits.NAME: digits.train, diabetes.NAME: diabetes.train}


def train_example(name: str) -> StoredModel:
    """Train the example of that name, show how it goes, print its test scores and store it."""
    require_extra("examples", "sklearn")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*columns, TimeElapsedColumn(), console=console(stderr=True)) as progress:
        bar = progress.add_task(f"Starting TensorFlow for {name}", total=None)
        import_tensorflow()

        def on_epoch(done: int, total: int, logs: Mapping[str, float]) -> None:
            what = f"Training {name}, loss {logs.get('loss', float('nan')):.4f}"
            progress.update(bar, completed=done, total=total, description=what)

        stored = EXAMPLES[name](on_epoch)
    print_scores(stored.card)
    console().print(f"Stored as {stored.tag}. Next: thinned serve {name}")
    return stored
