"""Sums over workers that come, go and die, and what Prometheus reads."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.telemetry.metrics import Metrics, Values
from gateway.telemetry.totals import Totals

REQUESTS = "penstock_requests_total"
LABELS = ("r", "inference", "OK", "")


def counted(value: float, gauge: float = 0.0) -> Values:
    metrics = Metrics()
    metrics.counter(REQUESTS, LABELS).value = value
    metrics.gauge("penstock_inflight", ("r",)).value = gauge
    metrics.gauge("penstock_world_generation").value = gauge
    metrics.histogram("penstock_request_duration_seconds", ("r", "")).observe(value)
    return metrics.snapshot()


def test_workers_are_summed_and_generations_are_not() -> None:
    totals = Totals()
    totals.update("worker 0", counted(3, gauge=2))
    totals.update("worker 1", counted(4, gauge=5))
    values = totals.values()
    assert values.counters[REQUESTS][LABELS] == 7
    assert values.gauges["penstock_inflight"]["r",] == 7
    assert values.gauges["penstock_world_generation"][()] == 5
    counts, total = values.histograms["penstock_request_duration_seconds"]["r", ""]
    assert (sum(counts), total) == (2, 7.0)


def test_counters_of_a_worker_that_died_are_kept_and_its_gauges_are_not() -> None:
    totals = Totals()
    totals.update("worker 0", counted(3, gauge=2))
    totals.mute("worker 0")
    assert totals.values().counters[REQUESTS][LABELS] == 3
    assert totals.values().gauges == {}
    totals.retire("worker 0")
    totals.update("worker 0", counted(1))
    assert totals.values().counters[REQUESTS][LABELS] == 4
    totals.retire("worker 0")
    totals.retire("worker 0")
    assert totals.values().counters[REQUESTS][LABELS] == 4


def test_one_family_is_summed_as_all_of_them_are() -> None:
    totals = Totals()
    totals.update("worker 0", counted(3))
    totals.retire("worker 0")
    totals.update("worker 0", counted(1))
    totals.update("worker 1", counted(4))
    assert totals.counter(REQUESTS) == totals.values().counters[REQUESTS] == {LABELS: 8}
    assert totals.counter("penstock_retries_total") == {}


def test_a_worker_that_only_lost_its_connection_counts_once() -> None:
    totals = Totals()
    totals.update("worker 0", counted(3))
    totals.mute("worker 0")
    totals.update("worker 0", counted(5))
    assert totals.values().counters[REQUESTS][LABELS] == 5


def test_what_another_version_sends_is_left_out() -> None:
    totals = Totals()
    totals.update("worker 0", Values({"new_total": {(): 1}}, {"new": {(): 1}}, {"new_seconds": {(): ([1], 1.0)}}))
    totals.update("worker 1", Values({}, {}, {"penstock_request_duration_seconds": {("r", ""): ([1, 2], 1.0)}}))
    assert totals.render("")[0]
    assert totals.values().counters == {}


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        ("text/plain;version=x.y", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        (
            "application/openmetrics-text; version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text",
            parse_openmetrics,
        ),
    ],
)
def test_the_exposition_parses_as_what_it_says(accept: str, content_type: str, parse: Any) -> None:
    totals = Totals()
    metrics = Metrics()
    for seconds in (0.0005, 0.02, 0.3, 90.0):
        metrics.histogram("penstock_request_duration_seconds", ('quo"te\n', "v")).observe(seconds)
    metrics.counter(REQUESTS, LABELS).value = 3
    totals.update("worker 0", metrics.snapshot())
    body, type_ = totals.render(accept)
    assert type_.startswith(content_type)
    samples = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels, reverse=True))): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }
    assert samples[REQUESTS, "", "r", "OK", "inference"] == 3
    buckets = {key[-1]: value for key, value in samples.items() if key[0].endswith("seconds_bucket")}
    assert (buckets["0.0005"], buckets["0.025"], buckets["60.0"], buckets["+Inf"]) == (1, 2, 3, 4)
    assert samples["penstock_request_duration_seconds_count", "v", 'quo"te\n'] == 4
    assert samples["penstock_request_duration_seconds_sum", "v", 'quo"te\n'] == pytest.approx(90.3205)
