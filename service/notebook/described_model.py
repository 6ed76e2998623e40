"""What a notebook shows of a loaded model: its inputs, outputs and sites."""

from __future__ import annotations

from thinned.models.card import ModelCard, OutputSpec
from thinned.service.cli.tables import AnswerTable, number, shape

__all__ = ["notes_on", "tables_of"]

_MOST_NAMES = 10
_MOST_SITES = 20


def tables_of(card: ModelCard) -> list[AnswerTable]:
    """Inputs, outputs and sites, each a table; no table of sites where there are none."""
    inputs = [[spec.name, shape(spec.shape), spec.dtype, _named(spec.columns)] for spec in card.inputs]
    outputs = [
        [spec.name, shape(spec.shape), spec.task, _named(spec.labels), _calibrated(spec)] for spec in card.outputs
    ]
    sites = [
        [site.path, site.kind, "" if site.rate is None else number(site.rate)] for site in card.sites[:_MOST_SITES]
    ]
    found = [
        AnswerTable(["input", "shape of a row", "dtype", "columns"], inputs),
        AnswerTable(["output", "shape of a row", "task", "labels", "calibrated"], outputs),
    ]
    return [*found, AnswerTable(["site", "kind", "rate"], sites, right=["rate"])] if sites else found


def notes_on(card: ModelCard, version: str) -> list[str]:
    """What stands below the tables."""
    told = [f"{card.name}:{version}"]
    if len(card.sites) > _MOST_SITES:
        told.append(f"the first {_MOST_SITES} of {len(card.sites)} sites")
    if card.members:
        told.append(f"an ensemble of {len(card.members)}")
    if not card.has_passes:
        told.append("it draws no noise: only deterministic answers")
    return ["; ".join(told), *card.warnings]


def _named(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "-"
    return ", ".join(names[:_MOST_NAMES]) + (f", … ({len(names)} in all)" if len(names) > _MOST_NAMES else "")


def _calibrated(spec: OutputSpec) -> str:
    found = spec.calibration
    return "no" if found is None else f"on {found.rows} rows, {found.n_samples} passes"
