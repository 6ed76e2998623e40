"""Is dropout correct in this model, and what does it do there? Measured on the model itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.audit.call_modes import findings_of_dormant, findings_of_modes, watch_calls
from thinned.models.audit.keras_layers import OwnLayer, measure_own_layer
from thinned.models.audit.model_checks import (
    findings_of_gaps,
    findings_of_keras_gaps,
    findings_of_naive,
    findings_of_shifts,
    gaps_from_mean,
    naive_training,
    shifts,
)
from thinned.models.audit.placement import placements
from thinned.models.audit.probe import Probe, ProbeRun
from thinned.models.audit.report import Audit, SiteAudit
from thinned.models.audit.rounding import relative_rounding, rounding_of_outputs, unit_rounding
from thinned.models.audit.site_checks import describe_site, findings_of_site
from thinned.models.audit.verdict import NOT_FINITE, verdict
from thinned.models.audit.watched_draws import SiteCounts, draw_alone
from thinned.models.audit.weights import findings_of_weights
from thinned.models.card import Finding, SiteSpec
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.keras_draws import CALL_BYTES, Gap, find_gaps
from thinned.models.dropout.partition.graph_partition import forced_layers
from thinned.models.dropout.sites.custom_noise import is_registered
from thinned.models.dropout.sites.discovery import layer_paths
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.dropout.stochastic_model import StochasticModel

__all__ = ["audit"]

Array = npt.NDArray[Any]
SEED = 20140601
_LARGE = 2_000_000
"""Parameters from which fewer rows and passes must do."""
_FEW_DRAWS = 8192
_LEVELS = ("error", "warning", "note")
_NOT_OFF = Finding(
    level="error",
    code="off-is-not-deterministic",
    text="With every site switched off the passes are not the deterministic answer.",
    remedy="Do not rely on the model's passes; report it with the model's file.",
)

_ONE_BY_ONE = Finding(
    level="note",
    code="noise-without-rows",
    text="Noise meets a kernel, a table or another value that has no rows. Such sites are not measured one by one: "
    "the mean and the variance of the answers are compared with Keras's own draws.",
)


def audit(
    model: StochasticModel,
    *,
    inputs: Mapping[str, Array] | None = None,
    classes: Sequence[str] = (),
    short: bool = False,
) -> Audit:
    """Audit a model. Its variables are the same afterwards.

    Args:
        model: The model.
        inputs: Rows to measure on, by input name; made up if None. Shifts and shares are those of these rows.
        classes: Outputs whose last axis holds classes.
        short: Leave out what needs further runs of the model: each site's share of the variance.

    Returns:
        What was measured and found, the gravest findings first.
    """
    return _Audit(model.apart, inputs, model.names_apart(classes), short).report()


class _Audit:
    """One audit: what its parts share."""

    def __init__(
        self, model: StochasticModel, inputs: Mapping[str, Array] | None, classes: Sequence[str], short: bool
    ) -> None:
        self.model, self.keras_model, self.short, self.classes = model, model.keras_model, short, classes
        self.found = model.graphs.sites
        self.paths = layer_paths(self.keras_model)
        large = self.keras_model.count_params() > _LARGE
        self.n_samples = 32 if large else 128 if short else 256
        # A wide network is slow too: its short audit makes do with the rows of a few calls.
        few = max(2, min(8, 4 * model.row_passes // self.n_samples)) if self.found.active else 8
        most = 2 if large else few if short else 64
        self.made_up = inputs is None
        given = model.examples.rows(most) if inputs is None else inputs
        self.inputs = {name: x[:most] for name, x in given.items()}
        self.rows = len(next(iter(self.inputs.values())))
        self.rows_used = _rows_used(model, self.inputs, None if inputs is None else len(next(iter(given.values()))))

    def report(self) -> Audit:
        broken = findings_of_weights(self.keras_model, self.paths)
        if broken:
            return self._report(NOT_FINITE, (), broken, {})
        modes = watch_calls(self.model, self.inputs)
        findings = [*findings_of_dormant(self.found.dormant, modes, self.paths)]
        findings += findings_of_modes(self.found.active, modes, forced_layers(self.keras_model))
        naive = naive_training(
            self.keras_model,
            self.model.graphs.signature,
            [x[: self._rows_in_a_call()] for x in self.model.flat(self.inputs)],
            rounding=relative_rounding(self.model),
        )
        findings += findings_of_naive(naive)
        figures: dict[str, Any] = {"naive_training": None if naive is None else dataclasses.asdict(naive)}
        sites: tuple[SiteAudit, ...] = ()
        gaps: list[Gap] | None = None
        if self.found.rowless:
            findings.append(_ONE_BY_ONE)
        elif self.found.active:
            sites, more, measured = self._measure()
            findings += more
            figures |= measured
        if self.found.active and not self.short:  # an import compares them itself, and refuses the model
            gaps = find_gaps(self.model, self.inputs)
            findings += findings_of_keras_gaps(gaps)
        said = _ONE_BY_ONE.text if self.found.rowless else verdict(sites, gaps)
        return self._report(said, sites, findings, figures)

    def _rows_in_a_call(self) -> int:
        """Rows that a call of Keras itself is made with; it keeps the outputs of all layers until it ends."""
        return max(2, CALL_BYTES // self.model.bytes_of_a_call)

    def _report(
        self, said: str, sites: tuple[SiteAudit, ...], findings: Sequence[Finding], figures: Mapping[str, Any]
    ) -> Audit:
        return Audit(
            model=self.keras_model.name,
            verdict=said,
            rows=self.rows,
            rows_used=self.rows_used,
            made_up_rows=self.made_up,
            n_samples=self.n_samples,
            seed=SEED,
            sites=sites,
            findings=tuple(sorted(findings, key=lambda finding: _LEVELS.index(finding.level))),
            figures=figures,
        )

    def _measure(self) -> tuple[tuple[SiteAudit, ...], list[Finding], dict[str, Any]]:
        probe = Probe(self.model, self.paths)
        noisy = self._run(probe)
        quiet = probe.run(self.inputs, n_samples=1, seed=SEED, on=[False] * probe.sites)
        answers = self.model.predict(self.inputs)
        rounding = rounding_of_outputs(self.model, answers, {name: x[0] for name, x in quiet.passes.items()})
        gap = gaps_from_mean(answers, noisy, self.classes, rounding)
        shifted = shifts(noisy.normalised, quiet.normalised, unit=unit_rounding(self.model))
        shares = self._shares(probe, noisy, rounding)
        own = self._own_layers()
        found = placements(self.model.graphs.runner.partition, self.paths)
        sites: list[SiteAudit] = []
        findings: list[Finding] = []
        for i, site in enumerate(self.found.active):
            place = found.get(id(site.source.layer))
            measured = describe_site(
                site.spec,
                self._met(i, noisy),
                own[i],
                place,
                identity=_passes_on(site.source, site.spec, self.inputs),
                half=self.model.half_precision,
                registered=is_registered(site.source.layer),
                shares={output: share[i] for output, share in shares.items()},
            )
            sites.append(measured)
            findings += findings_of_site(measured, site.spec, place)
        findings += findings_of_shifts(shifted)
        findings += findings_of_gaps(gap, made_up=self.made_up)
        same = self._same(quiet, answers)
        if not same:
            findings.append(_NOT_OFF)
        figures = {
            "graph_known": self.model.graphs.runner.partition is not None,
            "deterministic_from_mean": [dataclasses.asdict(item) for item in gap],
            "batch_normalization_shifts": [dataclasses.asdict(item) for item in shifted],
            "off_is_deterministic": same,
            "rounding": rounding,
            "unexplained_variance_share": {output: 1.0 - sum(share) for output, share in shares.items()},
        }
        return tuple(sites), findings, figures

    def _met(self, place: int, noisy: ProbeRun) -> list[SiteCounts]:
        """What a site did in the model, and alone where its passes drew too few numbers to tell its rate by."""
        counts = [item for item in noisy.counts if item.site == place]
        site, units = self.found.active[place], max((item.units for item in counts), default=0)
        shape = site.spec.shape
        if shape is None or None in shape or not 0 < sum(item.drawn for item in counts) < _FEW_DRAWS:
            return counts
        more = draw_alone(
            place, site.source, [n or 1 for n in shape], n_samples=max(32, _FEW_DRAWS // units), seed=SEED + 1
        )
        return counts if more is None else [*counts, more]

    def _run(self, probe: Probe, on: Sequence[bool] | None = None) -> ProbeRun:
        return probe.run(self.inputs, n_samples=self.n_samples, seed=SEED, on=on)

    def _shares(self, probe: Probe, noisy: ProbeRun, rounding: Mapping[str, float]) -> dict[str, list[float]]:
        """Variance with one site alone over that with all, by output; what is missing to 1 only arises together.

        An output whose variance is no more than rounding has no shares.
        """
        if self.short:
            return {}
        whole = {name: _variance(passes) for name, passes in noisy.passes.items()}
        whole = {name: variance for name, variance in whole.items() if variance > rounding[name] ** 2}
        if probe.sites == 1 or not whole:
            return {name: [1.0] for name in whole}
        alone = [self._run(probe, [i == j for j in range(probe.sites)]).passes for i in range(probe.sites)]
        return {name: [_variance(passes[name]) / variance for passes in alone] for name, variance in whole.items()}

    def _own_layers(self) -> list[OwnLayer | None]:
        with kept_variables(self.keras_model):
            return [
                measure_own_layer(site.source, site.spec, seed=place) for place, site in enumerate(self.found.active, 1)
            ]

    def _same(self, quiet: ProbeRun, answers: Mapping[str, Array]) -> bool:
        """Whether the model with every site switched off answers as the deterministic mode does, to rounding."""
        tolerance = 3e-2 if self.model.half_precision else 1e-4
        return all(
            np.allclose(
                passes[0], answers[name], rtol=0, atol=tolerance * (_largest(answers[name]) + 1e-12), equal_nan=True
            )
            for name, passes in quiet.passes.items()
        )


def _largest(values: Array) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _variance(passes: Array) -> float:
    return float(passes.astype(np.float64).var(axis=0, ddof=1).mean())


def _passes_on(source: SiteLayer, spec: SiteSpec, inputs: Mapping[str, Array]) -> bool | None:
    """Whether the site, switched off as it is for plain answers, gives its very input back; None for other kinds."""
    patched = source.patches(NoNoise())
    if set(patched) != {"call"} or spec.shape is None or not source.drops:
        return None
    rows = min(2, len(next(iter(inputs.values()))))
    x = np.random.default_rng(0).standard_normal((rows, *(n or 3 for n in spec.shape))).astype(np.float32)
    return bool(np.array_equal(np.asarray(patched["call"](x, training=False)), x))


def _rows_used(model: StochasticModel, inputs: Mapping[str, Array], given: int | None) -> str:
    """Which rows were used: the first of `given` rows, or made-up ones, with their shapes, lengths and values."""
    rows = len(next(iter(inputs.values())))
    if given is not None:
        shapes = ", ".join(f"{spec.name} {inputs[spec.name].shape}" for spec in model.inputs)
        which = f"all {given} rows given" if rows == given else f"the first {rows} of the {given} rows given"
        return f"{which}: {shapes}"
    return f"{rows} rows {model.examples.describe()}"
