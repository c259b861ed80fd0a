"""What `/metrics` of a gateway says."""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

from prometheus_client.parser import text_string_to_metric_families

from tests.support.deadline import until

HELD = ("penstock_inflight", "penstock_endpoint_inflight", "penstock_streams", "penstock_buffered_bytes")


class Admin(Protocol):
    """A gateway with an admin port."""

    def admin(self, path: str) -> tuple[int, str]:
        """Status and body of a page."""
        ...


def values(gateway: Admin, family: str, **labels: str) -> dict[tuple[str, ...], float]:
    """Label values to value, for the samples of this name that have these labels."""
    found = {}
    for metric in text_string_to_metric_families(gateway.admin("/metrics")[1]):
        for sample in metric.samples:
            if sample.name == family and labels.items() <= sample.labels.items():
                found[tuple(sample.labels.values())] = sample.value
    return found


def value(gateway: Admin, family: str, **labels: str) -> float:
    """The sum of these samples."""
    return sum(values(gateway, family, **labels).values())


def sums(gateway: Admin, family: str, label: str, **labels: str) -> dict[str, float]:
    """The sums of these samples by the value of one label."""
    found: defaultdict[str, float] = defaultdict(float)
    for metric in text_string_to_metric_families(gateway.admin("/metrics")[1]):
        for sample in metric.samples:
            if sample.name == family and labels.items() <= sample.labels.items():
                found[sample.labels[label]] += sample.value
    return dict(found)


def wait_for_reports(gateway: Admin) -> None:
    """Return when each worker has reported what is true now; a report shows in its CPU time."""
    before = _worker_cpu(gateway)
    until(lambda: all(_worker_cpu(gateway).get(worker, 0.0) != cpu for worker, cpu in before.items()))


def _worker_cpu(gateway: Admin) -> dict[tuple[str, ...], float]:
    cpu = values(gateway, "penstock_process_cpu_seconds_total")
    return {process: seconds for process, seconds in cpu.items() if process[0].startswith("worker")}


def held(gateway: Admin) -> dict[str, float]:
    """The sums of all that must be zero when nobody asks anything."""
    found: defaultdict[str, float] = defaultdict(float)
    for metric in text_string_to_metric_families(gateway.admin("/metrics")[1]):
        for sample in metric.samples:
            if sample.name in HELD:
                found[sample.name] += sample.value
    return dict(found)


def assert_nothing_held(gateway: Admin, seconds: float = 10.0) -> None:
    """Requests in flight, streams and buffers read zero, in reports that are newer than this call."""
    wait_for_reports(gateway)
    try:
        until(lambda: not any(held(gateway).values()), seconds)
    except TimeoutError:
        raise AssertionError(f"still held: {held(gateway)}") from None
    assert set(held(gateway)) == set(HELD)
