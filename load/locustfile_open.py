"""Open users for Locust's own page and command line: each is one stream of Poisson arrivals.

    locust -f load/locustfile_open.py --host http://127.0.0.1:3000 --rate 25 -u 4 Mc30Arrivals

is 100 arrivals a second, whatever the service does; their latency counts from the moment they were due.
"""

from __future__ import annotations

import thinned.loadtest.user_options  # noqa: F401 - registers options
from thinned.loadtest.users import ArrivalUser, kind

__all__ = ["Mc10Arrivals", "Mc30Arrivals", "Mc100Arrivals", "PredictArrivals"]


class PredictArrivals(kind(ArrivalUser, 0)):  # type: ignore[misc]
    """Ask for the answer alone."""


class Mc10Arrivals(kind(ArrivalUser, 10)):  # type: ignore[misc]
    """Ask for the answer with its uncertainty over 10 passes."""


class Mc30Arrivals(kind(ArrivalUser, 30)):  # type: ignore[misc]
    """Ask for the answer with its uncertainty over 30 passes."""


class Mc100Arrivals(kind(ArrivalUser, 100)):  # type: ignore[misc]
    """Ask for the answer with its uncertainty over 100 passes."""
