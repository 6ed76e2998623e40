"""From what was counted at a site to a verdict on it, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from thinned.models.audit.keras_layers import OwnLayer
from thinned.models.audit.placement import Placement
from thinned.models.audit.probe import SiteCounts
from thinned.models.audit.report import OwnMeasure, SiteAudit, confidence
from thinned.models.card import Finding, SiteSpec

__all__ = ["describe_site", "findings_of_site", "verdict"]

_HALF_ERROR, _SINGLE_ERROR = 1e-2, 1e-5
_SIGMAS = 4.5
"""Deviations from the rate beyond which it is wrong: of 1,000 sites that are right, 7 in a million times one is not."""
SRIVASTAVA = "Srivastava et al. 2014, Dropout, JMLR 15"
TOMPSON = "Tompson et al. 2015, arXiv:1411.4280"
GAL = "Gal & Ghahramani 2016, arXiv:1506.02142"


def describe_site(
    spec: SiteSpec,
    counts: Sequence[SiteCounts],
    own: OwnLayer | None,
    place: Placement | None,
    *,
    identity: bool | None,
    half: bool,
    shares: Mapping[str, float],
) -> SiteAudit:
    """Judge one site.

    Args:
        spec: What it should do.
        counts: What its calls did in the model; none where they are out of reach.
        own: What Keras's own layer did.
        place: Where it stands, where the graph is known.
        identity: Whether it gave its input back in inference.
        half: Whether it computes in 16 bits.
        shares: By output, its share of the variance.
    """
    drawn, dropped = sum(m.drawn for m in counts), sum(m.dropped for m in counts)
    drops = (spec.rate is not None and dropped > 0) or any(m.kept or m.zeroed for m in counts)
    frequency = dropped / drawn if drawn and drops else None
    low, high = confidence(dropped, drawn) if frequency is not None else (None, None)
    scaled = any(m.kept for m in counts)
    scale_error = max((m.scale_error for m in counts), default=0.0) if scaled else None
    tolerance = _HALF_ERROR if half else _SINGLE_ERROR
    declared = None if spec.shape is None or None in spec.shape else math.prod(n or 1 for n in spec.shape)
    units = counts[0].units if counts else None
    spread, due = _spread(spec, counts)
    right = (
        _near(frequency, spec.rate, drawn)
        and (scale_error is None or scale_error <= tolerance)
        and (units is None or declared is None or units % max(declared, 1) == 0)
        and (spread is None or due is None or abs(spread / due - 1) <= 0.1)
        and identity is not False
    )
    keeps = frequency is not None and scale_error is not None and spec.rate is not None
    return SiteAudit(
        path=spec.path,
        kind=spec.kind,
        rate=spec.rate,
        stddev=spec.stddev,
        words=in_words(spec),
        after=place.after if place else (),
        before=place.before if place else (),
        mask_units=units,
        declared_units=declared,
        drawn=drawn,
        dropped=dropped,
        frequency=frequency,
        low=low,
        high=high,
        scale_error=scale_error,
        mean_factor=(1 - (frequency or 0.0)) / (1 - (spec.rate or 0.0)) if keeps and (spec.rate or 0) < 1 else None,
        spread=spread,
        spread_due=due,
        identity_in_inference=identity,
        correct=right,
        keras=None if own is None else _own(own, spec, tolerance),
        variance_share=dict(shares),
    )


def _own(own: OwnLayer, spec: SiteSpec, tolerance: float) -> OwnMeasure:
    low, high = confidence(own.dropped, own.drawn)
    frequency = own.dropped / own.drawn
    right = _near(frequency, spec.rate, own.drawn) and own.scale_error <= tolerance and own.shared and own.identity
    return OwnMeasure(
        drawn=own.drawn,
        dropped=own.dropped,
        frequency=frequency,
        low=low,
        high=high,
        scale_error=own.scale_error,
        mean_factor=own.mean_factor,
        shared_as_declared=own.shared,
        identity_in_inference=own.identity,
        correct=right,
    )


def _near(frequency: float | None, rate: float | None, drawn: int) -> bool:
    if frequency is None or rate is None:
        return True
    return abs(frequency - rate) <= _SIGMAS * math.sqrt(max(rate * (1 - rate), 1e-12) / drawn) + 1 / drawn


def _spread(spec: SiteSpec, counts: Sequence[SiteCounts]) -> tuple[float | None, float | None]:
    if not counts or spec.kind not in ("GaussianNoise", "GaussianDropout"):
        return None, None
    due = spec.stddev if spec.kind == "GaussianNoise" else math.sqrt((spec.rate or 0) / (1 - (spec.rate or 0)))
    return counts[0].spread, due


def in_words(spec: SiteSpec) -> str:
    """What the site's noise means, for someone who has not counts it before."""
    rate = spec.rate
    if spec.kind == "GaussianNoise":
        return f"adds to each number a normal one of standard deviation {spec.stddev:g}"
    if rate is None:
        return "draws noise of its own kind"
    if spec.kind == "GaussianDropout":
        return f"multiplies each number by a normal one of mean 1 and standard deviation {(rate / (1 - rate)) ** 0.5:g}"
    if rate >= 1:
        return "drops every unit, always"
    kept = "one half" if rate == 0.5 else f"{1 - rate:g}"
    what = {True: "channel", False: "unit"}[spec.kind.startswith("Spatial")]
    if spec.kind == "AlphaDropout":
        return f"each unit is kept with probability {kept}, or put at SELU's lower end; mean and variance are restored"
    if spec.shape is not None and len(spec.shape) > 1 and set(spec.shape) == {1}:
        return (
            f"all that passes here is kept together with probability {kept}, and multiplied by {1 / (1 - rate):g}, "
            "or dropped together: the rest of the network skips this branch"
        )
    return (
        f"each {what} is kept with probability {kept}, by a draw of its own, and then multiplied by "
        f"{1 / (1 - rate):g}; not {100 * rate:g}% of the output, but {100 * rate:g}% of {what}s on average"
    )


def findings_of_site(site: SiteAudit, spec: SiteSpec, place: Placement | None) -> Iterator[Finding]:
    """What a person should know of a site."""
    if not site.correct:
        yield Finding(
            level="error",
            code="site-incorrect",
            site=site.path,
            text=f"As drawn here, {site.path} does not do what its rate says: {_measured(site)}.",
            reference=SRIVASTAVA,
            remedy="Do not rely on its variance; report it with the model's file.",
        )
    if site.keras is not None and not site.keras.correct:
        yield Finding(
            level="warning",
            code="keras-incorrect",
            site=site.path,
            text=f"Keras's own layer under training=True does not do what it says: {_own_measured(site.keras)}.",
            reference=SRIVASTAVA,
            remedy="It was trained with other noise than its rate says: update Keras or mend the layer; train again.",
        )
    if spec.forced:
        yield Finding(
            level="warning",
            code="built-with-training-true",
            site=site.path,
            text=f"{site.path} was built with training=True. Keras itself, up to 3.15.1, switches it off again in "
            "predict() and with training=False, and later versions do not: its own answers depend on its version.",
            reference="Keras's functional API, arguments of a call",
            remedy="Build it without training=True; Thinned draws it when asked, and only then.",
        )
    if spec.rate is not None and spec.rate > 0.5 and not spec.kind.startswith("Gaussian"):
        yield Finding(
            level="warning",
            code="rate-over-half",
            site=site.path,
            text=f"{site.path} drops {spec.rate:.0%} of its units: each pass is a far smaller network than the one "
            "that answers without dropout.",
            reference=f"{SRIVASTAVA}, section 7.3: flat between rates of 0.2 and 0.6",
            remedy="Try a rate of 0.5 or less with fewer units; choose it by log-likelihood on held-out rows.",
        )
    if place is not None:
        yield from _findings_of_place(site, spec, place)


def _findings_of_place(site: SiteAudit, spec: SiteSpec, place: Placement) -> Iterator[Finding]:
    if place.on_output:
        yield Finding(
            level="warning",
            code="dropout-on-output",
            site=site.path,
            text=f"{site.path} stands on the output itself: an answer is dropped to 0 or blown up, which is noise on "
            "the answer and no uncertainty of the network.",
            reference=GAL,
            remedy="Take it away, or put it before the last layer with weights.",
        )
    elif place.before_output is not None:
        yield Finding(
            level="note",
            code="dropout-before-output",
            site=site.path,
            text=f"{site.path} stands directly before the output layer {place.before_output}: what it adds to the "
            "variance is that of one linear layer.",
            reference=GAL,
            remedy="If it is the only site, the layers before it count as certain; put sites before these too.",
        )
    full = spec.shape is not None and len(spec.shape) >= 2 and 1 not in spec.shape
    if place.mixes is not None and full and spec.kind == "Dropout":
        yield Finding(
            level="warning",
            code="not-spatial",
            site=site.path,
            text=f"{site.path} drops single positions of a feature map before {place.mixes}, whose neighbours say much "
            "the same: the noise averages out, and little is regularised or doubted.",
            reference=TOMPSON,
            remedy="Use SpatialDropout, which drops whole channels, and train again.",
        )


def _measured(site: SiteAudit) -> str:
    parts = []
    if site.frequency is not None:
        parts.append(f"it dropped {site.frequency:.4f} ({site.low:.4f} to {site.high:.4f}) against {site.rate:g}")
    if (site.scale_error or 0.0) > _SINGLE_ERROR:
        parts.append(f"survivors are scaled wrong by up to {site.scale_error:.2g}")
    if site.spread is not None:
        parts.append(f"its noise has a deviation of {site.spread:.4g} against {site.spread_due:.4g}")
    if site.mask_units != site.declared_units:
        parts.append(f"a mask has {site.mask_units} units against {site.declared_units}")
    if site.identity_in_inference is False:
        parts.append("it changes its input in inference")
    return ", ".join(parts) or "see its figures"


def _own_measured(own: OwnMeasure) -> str:
    shared = "" if own.shared_as_declared else ", its mask is not shared as declared"
    identity = "" if own.identity_in_inference else ", it changes its input in inference"
    return (
        f"it dropped {own.frequency:.4f} ({own.low:.4f} to {own.high:.4f}), survivors are scaled wrong by up to "
        f"{own.scale_error:.2g}{shared}{identity}"
    )


def verdict(sites: Sequence[SiteAudit]) -> str:
    """The sentence that answers whether dropout is correct in this model."""
    if not sites:
        return "The model has no active site, so there is no dropout to judge."
    measured = [site for site in sites if site.keras is not None]
    bad = [site.path for site in measured if site.keras is not None and not site.keras.correct]
    here = [site.path for site in sites if not site.correct]
    served = f"As served here, {'every site is' if not here else ', '.join(here) + ' is not'} correct too."
    if here and not bad:
        served = f"As served here, {', '.join(here)} is NOT correct."
    if not measured:
        return f"Keras's own layers were not measured here: none is of a kind that can be. {served}".replace(
            " too.", "."
        )
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
