"""The trials by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.figures import Trial
from tests.faults.floods import abandoned, flood
from tests.faults.fuzz import fuzz
from tests.faults.memory import failed_allocation, peaks
from tests.faults.overload import overload
from tests.faults.replicas import replicas
from tests.faults.schema import schema
from tests.faults.slow_clients import holding_bodies, long_header, slow_clients
from tests.faults.soak import soak

__all__ = ["TRIALS"]

TRIALS: Mapping[str, Trial] = {
    "slow": slow_clients,
    "header": long_header,
    "bodies": holding_bodies,
    "fuzz": fuzz,
    "flood": flood,
    "abandoned": abandoned,
    "allocation": failed_allocation,
    "memory": peaks,
    "overload": overload,
    "replicas": replicas,
    "schema": schema,
    "soak": soak,
}
