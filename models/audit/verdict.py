"""The sentences that answer whether dropout is correct in a model."""

from __future__ import annotations

from collections.abc import Sequence

from thinned.models.audit.report import SiteAudit
from thinned.models.dropout.keras_draws import Gap

__all__ = ["NOT_FINITE", "verdict"]

NOT_FINITE = "The model's weights hold NaN or infinity: neither its answers nor its dropout can be measured."


def verdict(sites: Sequence[SiteAudit], gaps: Sequence[Gap] | None) -> str:
    """Whether dropout is correct in this model.

    Args:
        sites: What was measured of each.
        gaps: Where passes differ from Keras's own draws; None where they were not compared.
    """
    if not sites:
        return "The model has no active site, so there is no dropout to judge."
    plain = [site for site in sites if not site.registered]
    wrong = [site.path for site in sites if site.registered and not site.correct]
    parts = [_of_plain(plain)] if plain else []
    if len(plain) < len(sites):
        parts.append(_of_registered([site.path for site in sites if site.registered], wrong, gaps))
    elif gaps:
        parts.append("Over all, the passes are NOT Keras's own draws.")
    return " ".join(parts)


def _of_registered(paths: Sequence[str], wrong: Sequence[str], gaps: Sequence[Gap] | None) -> str:
    if wrong:
        return f"The draws of {', '.join(wrong)} are NOT what the registration asks for."
    drawn = f"{', '.join(paths)} {'draws as it was' if len(paths) == 1 else 'draw as they were'} registered"
    if gaps is None:
        return f"{drawn}."
    if gaps:
        return f"{drawn}, and the passes of the model are NOT Keras's own draws."
    return f"{drawn}, and the passes of the model agree with Keras's own draws."


def _of_plain(sites: Sequence[SiteAudit]) -> str:
    measured = [site for site in sites if site.keras is not None]
    bad = [site.path for site in measured if site.keras is not None and not site.keras.correct]
    here = [site.path for site in sites if not site.correct]
    too = "" if bad or not measured else " too"
    served = f"As served here, every site is correct{too}."
    if here:
        served = f"As served here, {', '.join(here)} is NOT correct."
    if not measured:
        return f"Keras's own layers were not measured here: none is of a kind that can be. {served}"
    if bad:
        return f"Keras's dropout is NOT correct here: {', '.join(bad)} did not do what it says. {served}"
    drawn = sum(site.keras.drawn for site in measured if site.keras is not None)
    rest = "" if len(measured) == len(sites) else f" ({len(sites) - len(measured)} more could not be measured)"
    return (
        f"Keras's dropout is correct here: over {drawn:,} draws under training=True at {_sites(len(measured))}{rest}, "
        "units fell as often as the rate says, survivors were multiplied by 1 / (1 - rate) to the last digit, and "
        f"inference left the input as it was. {served}"
    )


def _sites(count: int) -> str:
    return "1 site" if count == 1 else f"{count} sites"
