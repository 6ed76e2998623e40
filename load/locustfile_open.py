"""Open-loop users for Locust's own page and command line: each sends one stream of Poisson arrivals.

    locust -f load/locustfile_open.py --host http://127.0.0.1:3000 --rate 25 -u 4 Mc30Arrivals

sends 100 requests per second in all, however slow the service is; latency counts from when a request was due.
"""

from __future__ import annotations

import thinned.loadtest.user_options  # noqa: F401 - registers --rows, --rate and --arrival-seed
from thinned.loadtest.users import OpenUser, user_class

__all__ = ["Mc10Arrivals", "Mc30Arrivals", "Mc100Arrivals", "PredictArrivals"]


class PredictArrivals(user_class(OpenUser, 0)):  # type: ignore[misc]
    """Requests of `/predict`."""


class Mc10Arrivals(user_class(OpenUser, 10)):  # type: ignore[misc]
    """Requests of `/predict_mc` with n_samples=10."""


class Mc30Arrivals(user_class(OpenUser, 30)):  # type: ignore[misc]
    """Requests of `/predict_mc` with n_samples=30."""


class Mc100Arrivals(user_class(OpenUser, 100)):  # type: ignore[misc]
    """Requests of `/predict_mc` with n_samples=100."""
