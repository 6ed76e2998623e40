"""Closed-loop users for Locust's own page and command line, one class for each sample count.

    locust -f load/locustfile.py --host http://127.0.0.1:3000 Mc30User

Without a class name all classes run at once; `--class-picker` lets the page choose. Users of an open load are in
`locustfile_open.py`.
"""

from __future__ import annotations

import thinned.loadtest.user_options  # noqa: F401 - registers --rows, --rate and --arrival-seed
from thinned.loadtest.users import ClosedUser, user_class

__all__ = ["Mc10User", "Mc30User", "Mc100User", "PredictUser"]


class PredictUser(user_class(ClosedUser, 0)):  # type: ignore[misc]
    """Requests of `/predict`."""


class Mc10User(user_class(ClosedUser, 10)):  # type: ignore[misc]
    """Requests of `/predict_mc` with n_samples=10."""


class Mc30User(user_class(ClosedUser, 30)):  # type: ignore[misc]
    """Requests of `/predict_mc` with n_samples=30."""


class Mc100User(user_class(ClosedUser, 100)):  # type: ignore[misc]
    """Requests of `/predict_mc` with n_samples=100."""
