"""The same gRPC calls to Triton and through the gateway: equal but for the differences that are documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2 as pb

from tests.support.gateway import start_gateway
from tests.support.grpc_raw import SERVICE, Outcome, Raw
from tests.support.parity_cases import MODELS
from tests.support.parity_grpc import INFER, MANAGEMENT, STREAMS, Call, Stream
from tests.support.triton import start_triton

pytestmark = pytest.mark.triton

WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Raw, Raw]]:
    """Triton, and a gateway in front of it."""
    triton = start_triton([*MODELS, "badload"], explicit=True, number=1)
    gateway = start_gateway([triton.grpc_address])
    channels = Raw(triton.grpc_address), Raw(gateway.address)
    yield channels
    for channel in channels:
        channel.close()


def parsed(outcome: Outcome, method: str) -> tuple[str, str, list[Any]]:
    """Messages instead of bytes, since two encodings of one message may differ."""
    name = method.rpartition("/")[2]
    reply = health_pb2.HealthCheckResponse if "Health" in method else getattr(pb, f"{name}Response", None)
    return outcome.code, outcome.details, [reply.FromString(one) if reply else one for one in outcome.replies]


@pytest.mark.parametrize("call", [*INFER, *MANAGEMENT], ids=lambda call: call.name)
def test_calls(both: tuple[Raw, Raw], call: Call) -> None:
    triton, gateway = (parsed(channel.unary(call.method, call.message), call.method) for channel in both)
    if call.difference:
        assert gateway[0] == call.code
        assert gateway != triton, f"{call.difference} does not show any more"
    else:
        assert gateway == triton


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_streams(both: tuple[Raw, Raw], stream: Stream) -> None:
    method = SERVICE + "ModelStreamInfer"
    name = pb.ModelStreamInferResponse
    triton, gateway = (channel.stream(stream.messages, stream.replies) for channel in both)
    assert len(triton.replies) == stream.replies
    assert (gateway.code, gateway.details) == (triton.code, triton.details), method
    assert [name.FromString(one) for one in gateway.replies] == [name.FromString(one) for one in triton.replies]


def test_watch_and_reflection_are_more_than_triton_has(both: tuple[Raw, Raw]) -> None:
    """`health-watch` and `reflection`: what they answer is tested elsewhere."""
    triton, gateway = both
    for method in (WATCH, REFLECTION):
        assert triton.stream([b""], 1, method, timeout=2).code == "UNIMPLEMENTED"
    watched = gateway.stream([b""], 1, WATCH, timeout=2)
    assert [health_pb2.HealthCheckResponse.FromString(one).status for one in watched.replies] == [1]
    assert len(gateway.stream([b""], 1, REFLECTION, timeout=2).replies) == 1


@pytest.mark.parametrize("letters", [256, 300])
def test_a_file_name_that_would_end_triton_is_refused(both: tuple[Raw, Raw], letters: int) -> None:
    """`harmful-file-names`: not asked of Triton, which would not survive it."""
    message = pb.RepositoryModelLoadRequest(model_name="simple")
    message.parameters["config"].string_param = "{}"
    message.parameters["file:" + "x" * letters].bytes_param = b"x"
    outcome = both[1].unary(SERVICE + "RepositoryModelLoad", message.SerializeToString())
    assert outcome.code == "INTERNAL", "the code for which the client library's own example looks"
    assert "failed to load 'simple', failed to poll from model repository" in outcome.details


def test_classes_of_text_are_refused(both: tuple[Raw, Raw]) -> None:
    """`classification-of-text`: not asked of Triton, which would not survive it."""
    message = pb.ModelInferRequest(model_name="id_string", raw_input_contents=[b"\x01\0\0\0a"])
    message.inputs.add(name="INPUT0", datatype="BYTES", shape=[1])
    message.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 1
    outcome = both[1].unary(SERVICE + "ModelInfer", message.SerializeToString())
    assert (outcome.code, outcome.replies) == ("INVALID_ARGUMENT", ())
    assert both[0].unary(SERVICE + "ServerLive", b"").code == "OK"


def test_the_crashing_header_stays_behind(both: tuple[Raw, Raw]) -> None:
    """`triton-grpc-error`: with it, an error in mid-stream would end Triton 2.51."""
    outcome = both[1].unary(SERVICE + "ServerLive", b"", [("triton_grpc_error", "true")])
    assert outcome.code == "OK"
