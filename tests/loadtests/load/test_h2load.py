"""h2load's summary: read, and refused when a request failed or an answer has another size."""

from __future__ import annotations

import pytest

from loadtests.load import h2load
from loadtests.load.client import LoadError
from loadtests.load.generator import Load

SUMMARY = """
finished in 172.85ms, 23140.92 req/s, 7.22MB/s
requests: 4000 total, 4000 started, {done} done, {good} succeeded, {bad} failed, 0 errored, 0 timeout
status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.25MB (1308000) total, 175.78KB (180000) headers (space savings 0.00%), 996.09KB ({data}) data
"""


def summary(done: int = 4000, bad: int = 0, data: int = 1_020_000) -> str:
    return SUMMARY.format(done=done, good=done - bad, bad=bad, data=data)


def test_a_clean_run() -> None:
    assert h2load.parse(summary(), 4000, 255) == Load(4000, 0.17285)


def test_seconds_of_a_long_run() -> None:
    assert h2load.parse(summary().replace("172.85ms", "2.50s"), 4000, 255).seconds == 2.5


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (summary(bad=1), "1 failed"),
        (summary(done=3999), "3999 done"),
        (summary(data=1_019_999), "expected 4000 x 255"),
        ("cannot connect", "no summary: cannot connect"),
    ],
)
def test_a_run_with_errors_is_refused(output: str, text: str) -> None:
    with pytest.raises(LoadError, match=text):
        h2load.parse(output, 4000, 255)
