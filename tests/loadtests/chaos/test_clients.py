"""Each outcome has its class: an answer by its code or status, and whatever is no answer by itself."""

from __future__ import annotations

import pytest

from loadtests.chaos.clients import CONNECTION, HANG, HIDDEN, IN_BAND, OK, WRONG, classes, classify, kinds_of_text
from tests.support.load import Request


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, OK),
        ('AssertionError: 503 b\'{"error":"no endpoint is live"}\'', "unavailable"),
        ("AssertionError: 502 b'...'", "unavailable"),
        ("AssertionError: 404 b'...'", "not found"),
        ("AssertionError: 504 b'...'", "deadline"),
        ("AssertionError: 400 b'...'", "invalid"),
        ("AssertionError: 500 b'...'", "internal"),
        ("AssertionError: wrong sum 7 at step 2", WRONG),
        ("AssertionError: ", WRONG),
        ("AssertionError: in band no available versions", IN_BAND),
        ("UNAVAILABLE: no endpoint of pool 'fixed' is live", "unavailable"),
        ("UNAVAILABLE: Socket closed", CONNECTION),
        ("UNAVAILABLE: failed to connect to all addresses; last error: ...", CONNECTION),
        ("UNKNOWN: Stream removed", CONNECTION),
        ("INTERNAL: Internal error from Core", HIDDEN),
        ("UNAVAILABLE: endpoint 127.0.0.1:1 cannot be reached: Connection refused", "unavailable"),
        ("UNKNOWN: the model said so", "internal"),
        ("INTERNAL: internal error", "internal"),
        ("RESOURCE_EXHAUSTED: too many bytes are waiting in this worker", "unavailable"),
        ("DEADLINE_EXCEEDED: deadline exceeded", "deadline"),
        ("TimeoutError: ", HANG),
        ("ConnectionError: closed before the answer", CONNECTION),
        ("ConnectionResetError: [Errno 104] Connection reset by peer", CONNECTION),
        ("NobodyListens: refused", CONNECTION),
        ("IncompleteReadError: 0 bytes read on a total of 1 expected bytes", CONNECTION),
    ],
)
def test_classes(error: str | None, kind: str) -> None:
    assert classify(error) == kind


def test_texts_are_told_without_their_numbers() -> None:
    requests = [Request("rest", 0.0, error=f"UNAVAILABLE: endpoint a:{port} is gone") for port in (10, 200)]
    assert kinds_of_text(requests) == {("unavailable", "UNAVAILABLE: endpoint a:N is gone"): 2}


def test_they_are_counted_by_source() -> None:
    requests = [Request("rest", 0.0), Request("rest", 0.0, error="TimeoutError: "), Request("grpc", 0.0)]
    assert classes(requests) == {("rest", OK): 1, ("rest", HANG): 1, ("grpc", OK): 1}
