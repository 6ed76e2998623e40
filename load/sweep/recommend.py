"""Recommend a sample count: the smallest that is precise enough, or the largest that is fast enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinned.loadtest.sweep.options import DEFAULT_TOLERANCE
from thinned.loadtest.sweep.slo import slo_in_words

__all__ = ["recommend"]


def recommend(
    cells: Sequence[Mapping[str, Any]],
    precision: Mapping[str, Any] | None,
    *,
    slo: Mapping[str, float],
    tolerance: float | None,
) -> dict[str, Any] | None:
    """A recommended N among those measured, with its reason in words; None without limits and without errors.

    An N is fast enough when every load it was measured under met every limit without a failure.

    Args:
        cells: `cells` of the results.
        precision: `precision` of the results.
        slo: Limits on percentiles, in ms; may be empty.
        tolerance: Largest acceptable error of the mean, in units of the standard deviation between passes. None: the
            default where there are no limits, and no requirement where there are.
    """
    errors = {p["n_samples"]: p["mean_error"]["value"] for p in precision["points"]} if precision else {}
    fast = _fast_enough(cells, slo)
    counts = sorted(set(errors) & set(fast)) if errors else sorted(n for n in fast if n)
    if not counts or (not errors and not slo):
        return None
    if tolerance is None and not slo:
        tolerance = DEFAULT_TOLERANCE
    given = {"tolerance": tolerance, "slo_ms": dict(slo)}
    limits = slo_in_words(slo, joined_by=" and ")
    if tolerance is not None and errors:
        precise = [n for n in counts if errors[n] <= tolerance]
        chosen = next((n for n in precise if fast[n]), None)
        wanted = f"an error of the mean of at most {tolerance:g} of the spread"
        if chosen is not None:
            reason = f"the smallest N measured with {wanted} ({errors[chosen]:.3f})" + (f" and {limits}" if slo else "")
        elif not precise:
            reason = f"none of the N measured has {wanted}; measure larger ones"
        else:
            reason = f"N = {precise[0]} has {wanted}, but not {limits}"
        return {"n_samples": chosen, "reason": reason, **given}
    chosen = max((n for n in counts if fast[n]), default=None)
    if chosen is None:
        return {"n_samples": None, "reason": f"none of the N measured has {limits}", **given}
    error = f", where the error of the mean is {errors[chosen]:.3f} of the spread" if chosen in errors else ""
    return {"n_samples": chosen, "reason": f"the largest N measured with {limits}{error}", **given}


def _fast_enough(cells: Sequence[Mapping[str, Any]], slo: Mapping[str, float]) -> dict[int, bool]:
    """For each N of the service, whether all its cells met the limits without a failure."""
    found: dict[int, bool] = {}
    for cell in cells:
        if cell["target"] == "service":
            met = not slo or (all(limit["met"] for limit in cell["slo"].values()) and not cell["errors"])
            found[cell["n_samples"]] = found.get(cell["n_samples"], True) and met
    return found
