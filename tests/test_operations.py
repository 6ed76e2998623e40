"""`ops/` and `docs/metrics.md` against the metrics that a running service answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import ROOT, Service
from tests.test_documents import names, rows, section
from thinned.service.metrics.families import Family
from thinned.service.metrics.service_metrics import REASONS, Metrics

ALERTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "ops/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "ops/dashboard.json").read_text())
EXPRESSIONS = [
    *(rule["expr"] for rule in ALERTS),
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    DASHBOARD["templating"]["list"][1]["query"]["query"],
]
FAMILIES = {family.name: family for family in Metrics("m:1").families}


def family_of(name: str) -> Family:
    return FAMILIES[name] if name in FAMILIES else FAMILIES[re.sub(r"_(bucket|count|sum)$", "", name)]


@pytest.fixture(scope="module")
def answered(service: Service) -> set[str]:
    """Names of all samples that the real service answers after a request, and of the metrics."""
    image = [[[0.0]] * 8] * 8
    assert httpx.post(service.url + "/predict_mc", json={"inputs": [image]}).status_code == 200
    text = httpx.get(service.url + "/metrics").text
    families = list(text_string_to_metric_families(text))
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    return named | {sample.name for family in families for sample in family.samples}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_there_are(expression: str, answered: set[str]) -> None:
    used = re.findall(r"\bthinned_\w+", expression)
    assert used
    for name in used:
        family = family_of(name)
        assert family.name in answered
        assert name in answered or family.kind == "histogram"
        assert (name != family.name) == (family.kind == "histogram")
    for name, selector in re.findall(r"\b(thinned_\w+){([^}]*)}", expression):
        assert set(re.findall(r"(\w+)=", selector)) <= set(family_of(name).labels)
    labels = {label for name in used for label in family_of(name).labels} | {"le"}
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r", *", group)) <= labels
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_every_reason_that_an_alert_names_is_one() -> None:
    named = {r for e in EXPRESSIONS for found in re.findall(r'reason=~?"([^"]+)"', e) for r in found.split("|")}
    assert named
    assert named <= set(REASONS)


def test_the_real_service_answers_all_metrics_that_there_are(answered: set[str]) -> None:
    assert set(FAMILIES) <= answered
    assert all(name.startswith("thinned_") for name in answered)


def test_the_dashboard_shows_every_metric() -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    shown = {family_of(name).name for text in expressions for name in re.findall(r"thinned_\w+", text)}
    assert shown == set(FAMILIES)


def test_an_alert_has_what_prometheus_needs() -> None:
    for rule in ALERTS:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        used = {label for name in re.findall(r"\bthinned_\w+", rule["expr"]) for label in family_of(name).labels}
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= used


def test_the_document_names_metrics_and_alerts_as_they_are() -> None:
    text = (ROOT / Path("docs/metrics.md")).read_text()
    table = {names(row[0])[0]: (row[1], names(row[2])) for row in rows(section("docs/metrics.md", "Metrics"))}
    assert table == {name: (f.kind, [*f.labels[1:]]) for name, f in FAMILIES.items()}
    (reasons,) = [row[3] for row in rows(section("docs/metrics.md", "Metrics")) if "refusals" in row[0]]
    assert names(reasons) == list(REASONS)
    documented = [names(row[0])[0] for row in rows(section("docs/metrics.md", "Alerts and a dashboard"))]
    assert documented == [rule["alert"] for rule in ALERTS]
    assert "ops/dashboard.json" in text
