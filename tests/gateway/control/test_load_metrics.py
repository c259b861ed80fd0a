"""What is counted of loads."""

from __future__ import annotations

import pytest

from gateway.control.load_metrics import LoadMetrics
from gateway.telemetry.metrics import Metrics


def test_loads_that_work_and_that_do_not() -> None:
    metrics = Metrics()
    now = [0.0]
    counted = LoadMetrics(metrics, "p", lambda: now[0])
    with counted.load():
        now[0] += 0.3
    with pytest.raises(ValueError, match="broken"), counted.load():
        raise ValueError("broken")
    counted.unloaded("room")
    assert metrics.counter("penstock_model_loads_total", ("p", "ok")).value == 1
    assert metrics.counter("penstock_model_loads_total", ("p", "failed")).value == 1
    assert metrics.counter("penstock_model_unloads_total", ("p", "room")).value == 1
    histogram = metrics.histogram("penstock_model_load_seconds", ("p",))
    assert sum(histogram.counts) == 1
    assert histogram.total == pytest.approx(0.3)
