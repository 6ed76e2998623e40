"""Closed users for Locust's own page and command line, one class for each sample count.

    locust -f load/locustfile.py --host http://127.0.0.1:3000 Mc30User

Without a class all kinds run at once; `--class-picker` lets the page choose. The open ones are in `locustfile_open.py`.
"""

from __future__ import annotations

import thinned.loadtest.user_options  # noqa: F401 - registers options
from thinned.loadtest.users import ServiceUser, kind

__all__ = ["Mc10User", "Mc30User", "Mc100User", "PredictUser"]


class PredictUser(kind(ServiceUser, 0)):  # type: ignore[misc]
    """Asks for the answer alone."""


class Mc10User(kind(ServiceUser, 10)):  # type: ignore[misc]
    """Asks for the answer with its uncertainty over 10 passes."""


class Mc30User(kind(ServiceUser, 30)):  # type: ignore[misc]
    """Asks for the answer with its uncertainty over 30 passes."""


class Mc100User(kind(ServiceUser, 100)):  # type: ignore[misc]
    """Asks for the answer with its uncertainty over 100 passes."""
