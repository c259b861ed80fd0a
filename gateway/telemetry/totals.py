"""The workers' reports, summed and shown as Prometheus text or OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.telemetry.families import FAMILIES, Family
from gateway.telemetry.metrics import Labels, Values

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Totals(Collector):
    """The last values of each worker, and the sum of those that are gone, so that no sum ever goes back."""

    def __init__(self) -> None:
        self._latest: dict[str, Values] = {}
        self._retired = Values({}, {}, {})

    def update(self, source: str, values: Values) -> None:
        """`source` now counts `values`: absolute since it started, not what was added."""
        self._latest[source] = values

    def mute(self, source: str) -> None:
        """Forget the gauges of a source that is away; its counters stay, since it may come back and count on."""
        if source in self._latest:
            last = self._latest[source]
            self._latest[source] = Values(last.counters, {}, last.histograms)

    def retire(self, source: str) -> None:
        """The source ended; another of its name counts from zero."""
        last = self._latest.pop(source, None)
        if last is not None:
            _add(self._retired, Values(last.counters, {}, last.histograms))

    def values(self) -> Values:
        """All sources together. A family that this version does not know is left out."""
        total = Values({}, {}, {})
        for values in (self._retired, *self._latest.values()):
            _add(total, values)
        return total

    def counter(self, name: str) -> dict[Labels, float]:
        """One family of counters, of all sources together."""
        total: dict[Labels, float] = {}
        for values in (self._retired, *self._latest.values()):
            _add_cells(total, values.counters.get(name, {}), "sum")
        return total

    def collect(self) -> Iterable[Metric]:
        """The collector API of prometheus-client."""
        total = self.values()
        for row in FAMILIES.values():
            yield from _metric(row, total)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition that the `Accept` header asks for, and its content type."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        encode, content_type = choose_encoder(OPENMETRICS if _wants_openmetrics(accept) else "")
        return encode(registry), content_type


def _wants_openmetrics(accept: str) -> bool:
    """Only the media type counts: `choose_encoder` raises for versions in `Accept` that are no numbers."""
    return any(part.partition(";")[0].strip().lower() == "application/openmetrics-text" for part in accept.split(","))


def _add(total: Values, values: Values) -> None:
    for name, rows in values.counters.items():
        if name in FAMILIES:
            _add_cells(total.counters.setdefault(name, {}), rows, "sum")
    for name, rows in values.gauges.items():
        if name in FAMILIES:
            _add_cells(total.gauges.setdefault(name, {}), rows, FAMILIES[name].merge)
    for name, histograms in values.histograms.items():
        if name in FAMILIES:
            _add_histograms(total.histograms.setdefault(name, {}), histograms, len(FAMILIES[name].bounds) + 1)


def _add_cells(total: dict[Labels, float], rows: dict[Labels, float], merge: str) -> None:
    for labels, value in rows.items():
        before = total.get(labels)
        if before is None:
            total[labels] = value
        else:
            total[labels] = before + value if merge == "sum" else max(before, value)


def _add_histograms(
    total: dict[Labels, tuple[list[int], float]], rows: dict[Labels, tuple[list[int], float]], buckets: int
) -> None:
    for labels, (counts, value) in rows.items():
        if len(counts) != buckets:  # from a process of another version, upgraded in place
            continue
        before, before_value = total.get(labels, ([0] * buckets, 0.0))
        total[labels] = ([a + b for a, b in zip(before, counts, strict=True)], before_value + value)


def _metric(row: Family, total: Values) -> Iterator[Metric]:
    if row.kind == "histogram":
        histogram = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        for labels, (counts, value) in total.histograms.get(row.name, {}).items():
            histogram.add_metric(labels, _cumulated(row.bounds, counts), value)
        yield histogram
        return
    counter = row.kind == "counter"
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(row.name, row.help, labels=row.labels)
    for labels, value in (total.counters if counter else total.gauges).get(row.name, {}).items():
        family.add_metric(labels, value)
    yield family


def _cumulated(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus buckets: how many values were at most the bound, as text, `+Inf` last."""
    buckets, below = [], 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return buckets
