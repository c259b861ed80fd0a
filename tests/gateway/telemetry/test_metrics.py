"""Cells and histograms of one process."""

from __future__ import annotations

import pytest

from gateway.telemetry.families import FAMILIES
from gateway.telemetry.metrics import Metrics, measure_process

REQUESTS = "penstock_requests_total"
DURATION = "penstock_request_duration_seconds"


def test_the_same_labels_give_the_same_cell() -> None:
    metrics = Metrics()
    metrics.counter(REQUESTS, ("a", "inference", "OK", "")).value += 2
    metrics.counter(REQUESTS, ("a", "inference", "OK", "")).value += 1
    metrics.gauge("penstock_inflight", ("a",)).value = 5
    values = metrics.snapshot()
    assert values.counters == {REQUESTS: {("a", "inference", "OK", ""): 3}}
    assert values.gauges == {"penstock_inflight": {("a",): 5}}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.0005, 0), (0.00051, 1), (0.3, 9), (60.0, 15), (60.1, 16), (1e9, 16)]
)
def test_a_bound_belongs_to_its_bucket(seconds: float, bucket: int) -> None:
    metrics = Metrics()
    metrics.histogram(DURATION, ("a", "v")).observe(seconds)
    counts, total = metrics.snapshot().histograms[DURATION]["a", "v"]
    assert [i for i, count in enumerate(counts) if count] == [bucket]
    assert total == seconds


def test_a_snapshot_is_a_copy() -> None:
    metrics = Metrics()
    histogram = metrics.histogram(DURATION, ("a", "v"))
    before = metrics.snapshot()
    histogram.observe(1.0)
    assert sum(before.histograms[DURATION]["a", "v"][0]) == 0


def test_what_comes_after_the_limit_folds_into_other() -> None:
    metrics = Metrics()
    limit = FAMILIES[REQUESTS].limit
    for i in range(limit + 50):
        metrics.counter(REQUESTS, (f"route {i}", "inference", "OK", "")).value += 1
    rows = metrics.snapshot().counters[REQUESTS]
    assert len(rows) == limit
    assert rows[("other",) * 4] == 51
    metrics.counter(REQUESTS, ("route 3", "inference", "OK", "")).value += 1
    assert metrics.snapshot().counters[REQUESTS]["route 3", "inference", "OK", ""] == 2


def test_histograms_fold_too(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    for i in range(FAMILIES[DURATION].limit + 1):
        metrics.histogram(DURATION, (str(i), "v")).observe(0.1)
    assert sum(metrics.snapshot().histograms[DURATION]["other", "other"][0]) == 2


@pytest.mark.parametrize(
    ("kind", "name", "labels"),
    [
        ("counter", "penstock_nothing_total", ()),
        ("gauge", REQUESTS, ("a", "b", "c", "d")),
        ("counter", REQUESTS, ("a",)),
        ("histogram", REQUESTS, ("a", "b", "c", "d")),
    ],
)
def test_a_mistake_is_told_when_the_cell_is_made(kind: str, name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        getattr(Metrics(), kind)(name, labels)


def test_a_process_knows_its_memory_and_cpu_time() -> None:
    metrics = Metrics()
    measure_process(metrics, "test")
    values = metrics.snapshot()
    assert values.counters["penstock_process_cpu_seconds_total"]["test",] > 0
    assert 5e6 < values.gauges["penstock_process_resident_bytes"]["test",] < 5e9


def test_reprs_tell_the_value() -> None:
    metrics = Metrics()
    cell = metrics.counter(REQUESTS, ("a", "b", "c", "d"))
    cell.value += 1
    histogram = metrics.histogram(DURATION, ("a", "v"))
    histogram.observe(2.0)
    assert repr(cell) == "Cell(1)"
    assert repr(histogram) == "Histogram(1 values, total 2.0)"
