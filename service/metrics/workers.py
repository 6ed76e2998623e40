"""The metrics of all workers of a service, whichever of them is asked.

Each worker writes its numbers to a file of its own in a folder that only this service has, once a second while there is
another worker. Nothing depends on it: where the folder cannot be written, an answer tells of fewer workers.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

from thinned.service.metrics.families import Cells, added
from thinned.service.metrics.service_metrics import Metrics

__all__ = ["Workers"]

log = logging.getLogger("bentoml.thinned")

EVERY_S = 1.0


class Workers:
    """One worker's view of the metrics of all.

    Args:
        metrics: Those of this worker.
        folder: What the workers of the service share; None for a worker that stands alone.
    """

    def __init__(self, metrics: Metrics, folder: Path | None = None) -> None:
        self._metrics = metrics
        self._folder = folder
        self._name = f"{os.getpid()}.json"
        self._complained = False
        self._closed = threading.Event()

    def start(self) -> None:
        """Say that this worker is there, and begin to write."""
        if self._folder is None:
            return
        self._write({})
        threading.Thread(target=self._run, name="thinned-metrics", daemon=True).start()

    def close(self) -> None:
        """Write for the last time."""
        self._closed.set()
        if self._others():
            self.publish()

    def publish(self) -> None:
        """Write this worker's numbers for the others to read."""
        self._metrics.look()
        self._write({family.name: list(family.cells().items()) for family in self._metrics.families})

    def collect(self) -> dict[str, Cells]:
        """The numbers of all workers by the name of their family; those of a worker that has ended, without gauges."""
        self._metrics.look()
        others = [(_lives(path), _read(path)) for path in self._others()]
        return {
            family.name: added(
                [
                    family.cells(),
                    *(told.get(family.name, {}) for lives, told in others if lives or family.kind != "gauge"),
                ]
            )
            for family in self._metrics.families
        }

    def _run(self) -> None:
        while not self._closed.wait(EVERY_S):
            if any(_lives(path) for path in self._others()):
                self.publish()

    def _others(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            return [path for path in self._folder.glob("*.json") if path.name != self._name]
        except OSError:
            return []

    def _write(self, told: dict[str, list[tuple[tuple[str, ...], list[float]]]]) -> None:
        assert self._folder is not None
        beside = self._folder / f"{self._name}.new"
        try:
            beside.write_text(json.dumps(told))
            beside.replace(self._folder / self._name)
        except OSError as error:
            if not self._complained:
                log.warning("metrics of several workers are not put together: %s", error)
            self._complained = True


def _read(path: Path) -> dict[str, Cells]:
    try:
        told = json.loads(path.read_text())
        return {name: {tuple(values): cell for values, cell in cells} for name, cells in told.items()}
    except (OSError, ValueError):
        return {}


def _lives(path: Path) -> bool:
    try:
        os.kill(int(path.stem), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
