"""Which sample count to ask for: the fewest passes that are precise enough, or the most that are fast enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinned.loadtest.sweep.options import DEFAULT_TOLERANCE

__all__ = ["recommend"]

Record = Mapping[str, Any]


def recommend(
    cells: Sequence[Record], precision: Record | None, *, slo: Mapping[str, float], tolerance: float | None
) -> dict[str, Any] | None:
    """A recommended N among those measured, with its reason in words; None where nothing can be said.

    An N is fast enough when every load that it was measured under met every limit without a failure.

    Args:
        cells: Of the results.
        precision: Of the results.
        slo: Limits on percentiles, in ms; may be empty.
        tolerance: Largest error of the mean, as a share of the spread; the default one where there is no limit either.
    """
    errors = {p["n_samples"]: p["mean_error"]["value"] for p in precision["points"]} if precision else {}
    fast = _fast_enough(cells, slo)
    counts = sorted(set(errors) & set(fast)) if errors else sorted(n for n in fast if n)
    if not counts or (not errors and not slo):
        return None
    if tolerance is None and not slo:
        tolerance = DEFAULT_TOLERANCE
    given = {"tolerance": tolerance, "slo_ms": dict(slo)}
    limits = " and ".join(f"{name} ≤ {limit:g} ms" for name, limit in slo.items())
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


def _fast_enough(cells: Sequence[Record], slo: Mapping[str, float]) -> dict[int, bool]:
    found: dict[int, bool] = {}
    for cell in cells:
        if cell["target"] == "service":
            met = not slo or (all(limit["met"] for limit in cell["slo"].values()) and not cell["errors"])
            found[cell["n_samples"]] = found.get(cell["n_samples"], True) and met
    return found
