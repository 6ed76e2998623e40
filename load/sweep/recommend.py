"""Recommend a sample count: the smallest that is precise enough, or the largest that is fast enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Any

from thinned.loadtest.sweep.options import DEFAULT_TOLERANCE
from thinned.loadtest.sweep.plan import load_in_words
from thinned.loadtest.sweep.quantile_bounds import answers_needed
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
            reason = f"none of the N measured has {wanted}; {_larger(errors, tolerance)}"
        else:
            most = next((n for n in reversed(counts) if fast[n]), None)
            instead = (
                "" if most is None else f"; or settle for N = {most}, which has them, and {errors[most]:.3f} of it"
            )
            reason = f"N = {precise[0]} has {wanted}, but not {limits}: {_what_to_do(cells, slo, precise)}{instead}"
        return {"n_samples": chosen, "reason": reason, **given}
    chosen = max((n for n in counts if fast[n]), default=None)
    if chosen is None:
        reason = f"none of the N measured has {limits}: {_what_to_do(cells, slo, counts)}"
        return {"n_samples": None, "reason": reason, **given}
    error = f", where the error of the mean is {errors[chosen]:.3f} of the spread" if chosen in errors else ""
    return {"n_samples": chosen, "reason": f"the largest N measured with {limits}{error}", **given}


def _larger(errors: Mapping[int, float], tolerance: float) -> str:
    """What to measure for a smaller error: it goes down with the root of N, or faster."""
    most = max(errors)
    needed = most * (errors[most] / tolerance) ** 2
    digits = 10 ** max(0, len(f"{needed:.0f}") - 2)
    return f"measure larger ones (--samples {ceil(needed / digits) * digits} has it by what N = {most} has)"


def _what_to_do(cells: Sequence[Mapping[str, Any]], slo: Mapping[str, float], counts: Sequence[int]) -> str:
    """What to change where none of these N met the limits under every load, from where they were met."""
    service = [cell for cell in cells if cell["target"] == "service"]
    asked = [cell for cell in service if cell["n_samples"] in counts]
    met = [cell for cell in asked if _met(cell, slo)]
    if met:
        n = max(cell["n_samples"] for cell in met)
        loads = [_load(cell) for cell in met if cell["n_samples"] == n]
        missed = [_load(cell) for cell in asked if cell["n_samples"] == n and not _met(cell, slo)]
        return (
            f"under {' and '.join(loads)} N = {n} has them, under {' and '.join(missed)} not; share the load between "
            "workers (thinned serve --workers) or machines"
        )
    fewest = min(counts)
    of_fewest = [cell for cell in asked if cell["n_samples"] == fewest]
    failed = sum(sum(cell["errors"].values()) for cell in of_fewest)
    if failed:
        return f"{failed} requests for N = {fewest} failed; see why in the table of failures, and send less at a time"
    cell = min(of_fewest, key=lambda cell: _excess(cell, slo))
    took = " and ".join(f"{name} = {_value(cell, name):.3g} ms{_few(cell, name)}" for name in slo)
    told = f"the nearest, N = {cell['n_samples']} under {_load(cell)}, has {took}"
    plain = [cell for cell in service if not cell["n_samples"]]
    if any(_met(cell, slo) for cell in plain) and fewest > 2:
        return f"{told}, and the plain answer has them; measure fewer passes (--samples 2,4,8)"
    return f"{told}; allow more time, or take a faster machine, a smaller model, or one with dropout near its end"


def _excess(cell: Mapping[str, Any], slo: Mapping[str, float]) -> float:
    """By how many times a cell is over its limits, at the worst of them."""
    return max(_value(cell, name) / limit for name, limit in slo.items())


def _few(cell: Mapping[str, Any], name: str) -> str:
    """A remark where a cell has too few answers to tell a percentile."""
    needed = 0 if name == "max" else answers_needed(name)
    return f" by {cell['answers']} answers, of {needed} that it needs," if cell["answers"] < needed else ""


def _value(cell: Mapping[str, Any], name: str) -> float:
    estimate = cell["latency_ms"][name]
    return inf if estimate is None else float(estimate["value"])


def _load(cell: Mapping[str, Any]) -> str:
    return load_in_words(cell["clients"], cell["rate"], per_second=" arrivals/s")


def _met(cell: Mapping[str, Any], slo: Mapping[str, float]) -> bool:
    return not slo or (all(limit["met"] for limit in cell["slo"].values()) and not cell["errors"])


def _fast_enough(cells: Sequence[Mapping[str, Any]], slo: Mapping[str, float]) -> dict[int, bool]:
    """For each N of the service, whether all its cells met the limits without a failure."""
    found: dict[int, bool] = {}
    for cell in cells:
        if cell["target"] == "service":
            found[cell["n_samples"]] = found.get(cell["n_samples"], True) and _met(cell, slo)
    return found
