"""Locust's own statistics over a whole sweep, from which its HTML page and CSV files are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.html import get_html_report
from locust.runners import STATE_RUNNING
from locust.stats import (
    CSV_STATS_INTERVAL_SEC,
    PERCENTILES_TO_REPORT,
    StatsCSVFileWriter,
    update_stats_history,
)

from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.users import ClosedUser, user_class

__all__ = ["LocustStats"]

_HISTORY_S = 1.0


class LocustStats:
    """Collects the requests of all cells, each under its cell's name.

    Each cell is measured by a runner of its own, whose statistics Locust clears when it starts; so these are kept here.

    Args:
        host: Address of the service, which the page states.
        folder: Where the files are written.
    """

    def __init__(self, host: str, folder: Path) -> None:
        self._folder = folder
        self._environment = Environment(user_classes=[user_class(ClosedUser, 0)], host=host)
        self._runner = self._environment.create_local_runner()
        self._runner.stats.clear_all()
        self._runner.state = STATE_RUNNING
        self._csv = StatsCSVFileWriter(self._environment, PERCENTILES_TO_REPORT, str(folder / "locust"))
        self._writing = [gevent.spawn(self._csv), gevent.spawn(self._keep_history)]

    def listener(self, cell: Cell) -> Callable[..., None]:
        """A listener of Locust's request event, to be added while this cell is measured."""
        stats = self._runner.stats

        def log(
            *,
            request_type: str,
            response_time: float,
            response_length: int,
            exception: BaseException | None,
            **_: Any,
        ) -> None:
            stats.log_request(request_type, cell.name, response_time, response_length)
            if exception is not None:
                stats.log_error(request_type, cell.name, exception)

        return log

    def close(self) -> None:
        """Write `locust.html` and `locust_*.csv`."""
        # The CSV writer writes its last rows at its next interval.
        gevent.sleep(CSV_STATS_INTERVAL_SEC + 0.1)
        gevent.killall(self._writing)
        self._csv.close_files()
        (self._folder / "locust.html").write_text(get_html_report(self._environment, show_download_link=False))
        self._runner.greenlet.kill(block=True)

    def _keep_history(self) -> None:
        while True:
            if self._runner.stats.total.num_requests:
                update_stats_history(self._runner)
            gevent.sleep(_HISTORY_S)
