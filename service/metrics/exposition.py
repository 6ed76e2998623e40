"""The metrics as the text that Prometheus reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from thinned.service.metrics.families import Cells, Family, cumulative
from thinned.service.metrics.service_metrics import Metrics
from thinned.service.metrics.workers import Workers

__all__ = ["exposition"]


def exposition(metrics: Metrics, workers: Workers, accept: str = "") -> tuple[bytes, str]:
    """The metrics of all workers, and the content type.

    Args:
        metrics: Of this worker: what families there are.
        workers: All of them.
        accept: The header of the request: Prometheus' own format, or OpenMetrics.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, workers.collect()))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    """Tells a registry of its own what there is; nothing is kept between two answers."""

    def __init__(self, metrics: Metrics, cells: Mapping[str, Cells]) -> None:
        self._metrics = metrics
        self._cells = cells

    def describe(self) -> list[Metric]:
        """What there is, without asking for it."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family with its numbers."""
        for family in self._metrics.families:
            yield _told(family, self._cells[family.name])


def _told(family: Family, cells: Cells) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for values, cell in sorted(cells.items()):
            counts, total = cumulative(family, cell)
            histogram.add_metric(
                values, [("+Inf" if math.isinf(end) else repr(end), count) for end, count in counts.items()], total
            )
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    told: Metric = kind(family.name, family.text, labels=family.labels)
    for values, cell in sorted(cells.items()):
        told.add_metric(values, cell[0])  # type: ignore[attr-defined]
    return told
