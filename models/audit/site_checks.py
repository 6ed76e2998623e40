"""From what was counted at a site to a verdict on it, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from thinned.models.audit.keras_layers import OwnLayer
from thinned.models.audit.placement import Placement
from thinned.models.audit.report import OwnMeasure, SiteAudit, confidence
from thinned.models.audit.watched_draws import SiteCounts
from thinned.models.card import Finding, SiteSpec
from thinned.models.dropout.inserted_dropout import inserted_layer

__all__ = ["describe_site", "findings_of_site"]

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
    registered: bool,
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
        registered: Whether it draws as `register_noise` was told. Its draws are then held against what they were asked
            for, and no mask is expected of it.
        shares: By output, its share of the variance.
    """
    drawn, dropped = sum(m.drawn for m in counts), sum(m.dropped for m in counts)
    rate = _asked(counts) if registered else spec.rate
    drops = (rate is not None and dropped > 0) or any(m.kept or m.zeroed for m in counts)
    frequency = dropped / drawn if drawn and drops and rate is not None else None
    low, high = confidence(dropped, drawn) if frequency is not None else (None, None)
    scaled = any(m.kept for m in counts)
    scale_error = max((m.scale_error for m in counts), default=0.0) if scaled else None
    tolerance = _HALF_ERROR if half else _SINGLE_ERROR
    known = not registered and spec.shape is not None and None not in spec.shape
    declared = math.prod(n or 1 for n in spec.shape or ()) if known else None
    units = counts[0].units if counts else None
    spread, due = (None, None) if registered else _spread(spec, counts)
    right = (
        _near(frequency, rate, drawn)
        and (scale_error is None or scale_error <= tolerance)
        and (units is None or declared is None or units % max(declared, 1) == 0)
        and (spread is None or due is None or abs(spread / due - 1) <= 0.1)
        and identity is not False
    )
    keeps = frequency is not None and scale_error is not None and rate is not None
    return SiteAudit(
        path=spec.path,
        kind=spec.kind,
        rate=spec.rate,
        stddev=spec.stddev,
        words=_registered_in_words(spec, counts, rate) if registered else in_words(spec),
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
        mean_factor=(1 - (frequency or 0.0)) / (1 - (rate or 0.0)) if keeps and (rate or 0) < 1 else None,
        spread=spread,
        spread_due=due,
        registered=registered,
        asked_rate=rate if registered else None,
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


def _asked(counts: Sequence[SiteCounts]) -> float | None:
    """The rate that a registered layer asks for; None where it asks for several, or for none."""
    asked = {item.asked for item in counts}
    return asked.pop() if len(asked) == 1 else None


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


def _registered_in_words(spec: SiteSpec, counts: Sequence[SiteCounts], rate: float | None) -> str:
    """What a registered layer was seen to ask for; what its noise does then is known to the layer alone."""
    if not counts:
        return "draws as it was registered"
    units = counts[0].units
    met = 0 if spec.shape is None or None in spec.shape else math.prod(n or 1 for n in spec.shape)
    what = "1 draw" if units == 1 else f"{units:,} draws"
    shared = f" for the {met:,} numbers of a row that meet it" if met else ""
    falls = (
        "" if rate is None else f", {'which falls' if units == 1 else 'each of which falls'} with probability {rate:g}"
    )
    return f"draws as it was registered: {what} in each pass{shared}{falls}"


def findings_of_site(site: SiteAudit, spec: SiteSpec, place: Placement | None) -> Iterator[Finding]:
    """What a person should know of a site."""
    if not site.correct:
        due = "it asks for" if site.registered else "its rate says"
        yield Finding(
            level="error",
            code="site-incorrect",
            site=site.path,
            text=f"As drawn here, {site.path} does not do what {due}: {_measured(site)}.",
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
    if site.registered:  # what its rate means is known to the layer alone
        return
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
    layer = inserted_layer(site.path)
    if layer is not None:
        yield Finding(
            level="warning",
            code="not-trained-for",
            site=site.path,
            text=f"{site.path} was put behind {layer} when the model was imported: the model was not trained with it, "
            "and how far its passes spread was never fitted to data.",
            reference=GAL,
            remedy="Train the model with it; or calibrate it on held-out rows and judge it by thinned evaluate.",
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
        due = site.asked_rate if site.registered else site.rate
        parts.append(f"it dropped {site.frequency:.4f} ({site.low:.4f} to {site.high:.4f}) against {due:g}")
    if (site.scale_error or 0.0) > _SINGLE_ERROR:
        parts.append(f"survivors are scaled wrong by up to {site.scale_error:.2g}")
    if site.spread is not None:
        parts.append(f"its noise has a deviation of {site.spread:.4g} against {site.spread_due:.4g}")
    if site.mask_units is not None and site.declared_units and site.mask_units % site.declared_units:
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
