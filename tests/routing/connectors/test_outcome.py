"""What an endpoint's answer means: whose fault, and may it be sent elsewhere."""

from __future__ import annotations

import pytest

from routing.connectors.outcome import Blame, Expired, absent, blame, broken, died, from_status, not_grpc, status_of
from transcoding.http2 import hpack
from transcoding.http2.headers import response_block
from transcoding.status import Code, Fault, GatewayError, invalid


def block(*fields: tuple[bytes, bytes]):  # type: ignore[no-untyped-def]
    return hpack.Decoder(response_block, 8192, 100).decode(hpack.encode(fields))


@pytest.mark.parametrize(
    ("code", "message", "fault", "executed"),
    [
        (14, "[request id: <id_unknown>] Exceeds maximum queue size", Fault.BUSY, False),
        (14, "Request timeout expired", Fault.BUSY, False),
        (14, "Request for unknown model: 'm' version 1 is not at ready state", Fault.WORKER, False),
        (5, "Request for unknown model: 'm' has no available versions", Fault.WORKER, False),
        (14, "the model says so", Fault.MODEL, True),
        (3, "unexpected shape", Fault.CLIENT, True),
        (
            14,
            "[request id: 1] Server is stopping, scheduler for model has stopped accepting new inference requests",
            Fault.WORKER,
            False,
        ),
        (5, "Request for unknown model: 'm' is not found", Fault.CLIENT, False),
        (5, "Request for unknown model: 'm' version 3 is not found", Fault.CLIENT, False),
        (5, "the key is not found", Fault.CLIENT, True),
        (13, "boom", Fault.MODEL, True),
        (99, "?", Fault.WORKER, True),
    ],
)
def test_status_to_error(code: int, message: str, fault: Fault, executed: bool) -> None:
    error = from_status(code, message)
    assert (error.fault, error.executed) == (fault, executed)
    assert message in error.message
    assert error.code == (code if code < 17 else Code.UNKNOWN)


def test_status_is_read_once_per_block() -> None:
    trailers = block((b"grpc-status", b"5"), (b"grpc-message", b"a%20b"))
    assert status_of(trailers) == (5, "a b")
    assert status_of(trailers) is status_of(trailers)


def test_a_block_without_status_has_none() -> None:
    assert status_of(block((b":status", b"200"))) is None


def test_broken_names_the_endpoint_and_is_a_bad_gateway() -> None:
    error = broken("gpu-0:8001", 7, executed=False)
    assert (error.code, error.http_status, error.executed) == (Code.UNAVAILABLE, 502, False)
    assert "gpu-0:8001" in error.message
    assert "REFUSED_STREAM" in error.message
    assert "code 4711" in broken("a:1", 4711, executed=True).message


def test_an_http_answer_is_explained() -> None:
    assert "HTTP 404" in not_grpc("a:1", block((b":status", b"404"))).message


UNREACHABLE = GatewayError(Code.UNAVAILABLE, "endpoint a:1 cannot be reached: refused", fault=Fault.WORKER)


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (invalid("wrong"), Blame.NOBODY),
        (from_status(3, "unexpected shape"), Blame.NOBODY),
        (from_status(5, "Request for unknown model: 'm' is not found"), Blame.NOBODY),
        (from_status(8, "Received message larger than max"), Blame.NOBODY),
        (from_status(12, "doesn't support models with decoupled transaction policy"), Blame.NOBODY),
        (from_status(14, "[request id: 1] Exceeds maximum queue size"), Blame.NOBODY),
        (from_status(14, "Request for unknown model: 'm' version 1 is not at ready state"), Blame.NOBODY),
        (from_status(4, "Deadline Exceeded"), Blame.NOBODY),
        (Expired(0.01), Blame.NOBODY),
        (broken("a:1", 7, executed=False), Blame.NOBODY),
        (Expired(5.0), Blame.MODEL),
        (from_status(13, "boom"), Blame.MODEL),
        (from_status(14, "Stub process 'm' is not healthy."), Blame.MODEL),
        (broken("a:1", 2, executed=True), Blame.ENDPOINT),
        (UNREACHABLE, Blame.ENDPOINT),
    ],
    ids=repr,
)
def test_whom_a_failure_counts_against(error: GatewayError, whose: Blame) -> None:
    assert blame(error) is whose


def test_only_what_broke_off_with_the_request_died() -> None:
    assert died(broken("a:1", 2, executed=True))
    assert not any(map(died, [broken("a:1", 2, executed=False), Expired(9.0), UNREACHABLE, from_status(14, "x")]))


@pytest.mark.parametrize(
    ("error", "is_absent"),
    [
        (GatewayError(Code.NOT_FOUND, "Request for unknown model: 'm' is not found"), True),
        (GatewayError(Code.UNAVAILABLE, "model 'm' is loading", fault=Fault.WORKER), True),
        (from_status(14, "Request for unknown model: 'm' version 1 is not at ready state"), True),
        (from_status(5, "whatever the model does not find"), False),
        (UNREACHABLE, False),
    ],
    ids=repr,
)
def test_what_is_not_loaded_is_told_from_what_cannot_be_reached(error: GatewayError, is_absent: bool) -> None:
    assert absent(error) is is_absent
