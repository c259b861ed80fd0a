"""gRPC by clients that attack: messages too large, compression bombs, garbage, and questions without end.

A stream that asks for too much ends with a status; memory stays where it was, and somebody else notices nothing.
"""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.support.deadline import until
from tests.support.hostile import MIB, SCALE, HostileGateway
from tests.support.rude_http2 import LARGE_WINDOW, data, grpc_headers, headers, message, request_headers
from transcoding.http2 import frames as fr

pytestmark = pytest.mark.usefixtures("bystander")

REFLECTION = "grpc.reflection.v1.ServerReflection"


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_h6_messages_above_the_limit(hostile: HostileGateway, method: str) -> None:
    """Refused by their prefix, before they are there."""
    with hostile.memory_within(2 * MIB), hostile.http2("small") as client:
        for stream in range(1, 100, 2):
            client.send(headers(stream, grpc_headers(method)) + data(stream, struct.pack(">BI", 0, 2**32 - 1)))
            assert client.finish(stream).grpc_status == 8


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_grpc_compression_bombs(hostile: HostileGateway, method: str, encoding: bytes) -> None:
    """100 KB that would be 100 MB."""
    packer = zlib.compressobj(9, wbits=31 if encoding == b"gzip" else 15)
    bomb = message(packer.compress(bytes(100 * MIB)) + packer.flush(), True)
    with hostile.memory_within(200 * MIB), hostile.http2() as client:
        streams = range(1, 10 * SCALE, 2)
        for stream in streams:
            client.send(headers(stream, grpc_headers(method, (b"grpc-encoding", encoding))))
            client.send(b"".join(data(stream, bomb[at : at + 16_000]) for at in range(0, len(bomb), 16_000)))
            client.send(data(stream, b"", True))
        assert {client.finish(stream).grpc_status for stream in streams} == {8}


def test_grpc_bombs_within_the_limit_count_as_what_they_are(hostile: HostileGateway) -> None:
    """On this listener 131072 bytes may come of one message and 262144 be held: streams cannot hold a bomb each."""
    plain = b"\x0a\x04slow\x3a" + b"\xc0\xa9\x07" + bytes(120_000)  # raw_input_contents of so many bytes
    packed = message(zlib.compress(plain, 9), True)
    hostile.backend.release.clear()
    with hostile.http2("small", {fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW}) as client:
        client.send(fr.window_update(0, LARGE_WINDOW))
        for stream in range(1, 17, 2):
            client.send(headers(stream, grpc_headers("ModelInfer", (b"grpc-encoding", b"deflate"))))
            client.send(data(stream, packed, True))
        until(lambda: hostile.backend.active > 0)
        refused = [client.finish(stream).grpc_status for stream in range(3, 17, 2)]
        assert refused == [8] * 7
        hostile.backend.release.set()
        assert client.finish(1).ended


@pytest.mark.parametrize(
    "garbage",
    [b"\x07\0\0\0\1a", b"\0\0\0\0\1", message(b"\xff" * 10), message(b"a", True), b"\0\0"],
    ids=["flags", "cut off", "no protobuf", "compressed without encoding", "half a prefix"],
)
@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "Watch", "ServerReflectionInfo"])
def test_grpc_garbage(hostile: HostileGateway, method: str, garbage: bytes) -> None:
    service = {"Watch": "grpc.health.v1.Health", "ServerReflectionInfo": REFLECTION}.get(
        method, "inference.GRPCInferenceService"
    )
    with hostile.http2() as client:
        client.send(headers(1, grpc_headers(method, service=service)) + data(1, garbage, True))
        outcome = client.finish(1)
        assert outcome.grpc_status != 0 or method == "ServerReflectionInfo"
        assert outcome.grpc_status != 2
        client.send(headers(3, grpc_headers("ServerLive")) + data(3, message(b""), True))
        assert client.finish(3).grpc_status == 0


def test_many_questions_at_once_are_answered_in_turns(hostile: HostileGateway) -> None:
    """Answers of reflection are large: those who do not read them get no more of them than a window or two."""
    question = message(b"\x22\x1einference.GRPCInferenceService")
    with hostile.memory_within(16 * MIB), hostile.http2("hasty", {fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW}) as client:
        client.send(fr.window_update(0, LARGE_WINDOW - 65_536))
        client.send(headers(1, grpc_headers("ServerReflectionInfo", service=REFLECTION)))
        client.send_what_fits([data(1, question * 400)] * 500)
        assert client.closed()


def test_many_requests_in_a_stream_that_are_refused_at_once(hostile: HostileGateway) -> None:
    """An answer is thirty times its request: the client that does not read gets no more of them."""
    request = message(b"\x0a\x01?")
    with hostile.memory_within(16 * MIB), hostile.http2("hasty", {fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW}) as client:
        client.send(fr.window_update(0, LARGE_WINDOW - 65_536))
        client.send(headers(1, grpc_headers("ModelStreamInfer")))
        client.send_what_fits([data(1, request * 1000)] * 2000)
        assert client.closed()


def test_grpc_web_is_not_taken_for_grpc(hostile: HostileGateway) -> None:
    fields = request_headers("/inference.GRPCInferenceService/ServerLive", (b"content-type", b"application/grpc-web"))
    with hostile.http2() as client:
        client.send(headers(1, fields) + data(1, message(b""), True))
        assert client.finish(1).status == 404
