"""Messages survive the wire."""

from __future__ import annotations

import msgspec
import pytest

from gateway.world import EndpointState, Hello, ModelVersion, Refresh, Refreshed, Report, ToControl, ToWorker, World
from tests.support.gateway_process import a_config

STATE = EndpointState(
    "gpu-0:8001", True, True, {"m": {"1": ModelVersion("READY"), "2": ModelVersion("X", "y")}, "n": {}}
)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (World(3, a_config("gpu-0:8001", listen="0.0.0.0:1"), {"p": (STATE,)}, draining=True), ToWorker),
        (Refreshed(7), ToWorker),
        (Hello(1, 42), ToControl),
        (Refresh(7, "p"), ToControl),
        (Report(1, 2, True, {"c": {("a", "b"): 1.0, (): 2.0}}, {}, {"h": {("a",): ([1, 2], 0.5)}}), ToControl),
    ],
    ids=lambda value: type(value).__name__,
)
def test_comes_back_as_it_was(message: object, kind: object) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=kind) == message


def test_a_message_of_the_other_direction_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Hello(1, 2)), type=ToWorker)
