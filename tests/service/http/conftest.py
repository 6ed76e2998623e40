"""What holds for the application without a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thinned.service.inference.call_costs import CallCosts


@pytest.fixture(scope="package", autouse=True)
def calls_are_not_cut_by_time() -> Iterator[None]:
    """A slow machine would cut the calls of one of two requests, whose answers then differ by their rounding."""
    defaults = CallCosts.__init__.__kwdefaults__
    before, defaults["longest_s"] = defaults["longest_s"], 60.0
    yield
    defaults["longest_s"] = before
