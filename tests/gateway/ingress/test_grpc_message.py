"""The messages of unary gRPC calls: framing, compression, and caps."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from config.schema import Limits
from gateway.ingress.grpc_message import is_whole, unpinned
from tests.support.data_plane import PlaneThread, a_listener, a_plane
from tests.support.deadline import until
from tests.support.grpc_calls import INFER, Status, infer, raw, refused
from tests.support.h2_client import framed, h2_client
from tests.support.model_server import ModelServer, echo, model_server, numbers_of, request_of


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    limits = Limits(body_bytes=100_000, inflated_bytes=50_000)
    with a_plane(server.address, listen=[a_listener(limits=limits)]) as running:
        yield running


@pytest.fixture
def hanging(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Inference waits for this event."""
    release = threading.Event()
    monkeypatch.setattr(server, "infer", lambda request, context: release.wait(10) and echo(request))
    yield release
    release.set()


class TestMessages:
    @pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
    def test_compressed(self, plane: PlaneThread, compression: Any) -> None:
        assert numbers_of(infer(plane, request_of(numbers=[0] * 5000), compression=compression)) == [0] * 5000

    def test_a_compressed_message_is_bounded(self, plane: PlaneThread) -> None:
        bomb = request_of(numbers=[0] * 100_000)
        code, text = refused(plane, bomb, compression=grpc.Compression.Gzip)
        assert code is Status.RESOURCE_EXHAUSTED
        assert "50000 bytes when decompressed" in text

    @pytest.mark.parametrize("data", [b"not gzip", gzip.compress(b"x", mtime=0)[:-3], b""])
    def test_a_compressed_message_that_is_none(self, plane: PlaneThread, data: bytes) -> None:
        assert raw(plane, framed(data, flags=1), headers=[("grpc-encoding", "gzip")]).status == "3"

    def test_a_flag_without_an_encoding(self, plane: PlaneThread) -> None:
        data = zlib.compress(request_of().SerializeToString())
        assert raw(plane, framed(data, flags=1)).status == "13"
        assert raw(plane, framed(data, flags=1), headers=[("grpc-encoding", "identity")]).status == "13"

    def test_an_encoding_that_is_not_known(self, plane: PlaneThread) -> None:
        call = raw(plane, framed(b"x", flags=1), headers=[("grpc-encoding", "snappy")])
        assert (call.status, call.headers["grpc-accept-encoding"]) == ("12", "identity,deflate,gzip")
        assert call.message == "message encoding 'snappy' is not supported"

    @pytest.mark.parametrize("count", [0, 2, 3])
    def test_another_number_than_one(self, plane: PlaneThread, count: int) -> None:
        messages = [framed(request_of().SerializeToString())] * count
        for call in (raw(plane, *messages), raw(plane, b"".join(messages))):
            assert call.status == "12"
            assert call.message == f"expected one message, got {'several' if count else 'none'}"

    def test_one_that_is_cut_off(self, plane: PlaneThread) -> None:
        message = framed(request_of().SerializeToString())
        assert raw(plane, message[:-1]).status == "13"
        assert raw(plane, message[:3]).status == "13"
        assert raw(plane, message, b"\0").status == "13"

    def test_flags_that_are_not_known(self, plane: PlaneThread) -> None:
        assert raw(plane, framed(b"", flags=2)).status == "13"

    def test_one_that_is_too_large_is_refused_at_its_announcement(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(INFER)
            client.send(stream, b"\0\0\1\x86\xa1")  # 100,001 bytes will follow
            call = client.finish(stream)
        assert (call.status, call.reset) == ("8", 0 if call.reset is not None else None)
        assert plane.held() == {}

    def test_one_that_is_too_large_in_one_frame(self, server: ModelServer) -> None:
        with a_plane(server.address, listen=[a_listener(limits=Limits(body_bytes=20))]) as plane:
            code, text = refused(plane)
            assert (code, text) == (Status.RESOURCE_EXHAUSTED, "message larger than 20 bytes")

    def test_one_that_is_no_request(self, plane: PlaneThread) -> None:
        call = raw(plane, framed(b"\xff\xff\xff"))
        assert (call.status, call.message) == ("3", "the message is not a ModelInferRequest: malformed protobuf")

    def test_all_together_are_bounded(self, server: ModelServer, hanging: threading.Event) -> None:
        limits = Limits(buffered_bytes=300_000)  # of which one connection may hold a share
        with a_plane(server.address, listen=[a_listener(limits=limits)]) as plane:
            request = request_of(numbers=range(20_000))
            first = plane.stub().ModelInfer.future(request, timeout=10)
            until(lambda: plane.held().get("at endpoints") == 1, 5)
            assert refused(plane, request)[0] is Status.RESOURCE_EXHAUSTED
            hanging.set()
            assert numbers_of(first.result()) == list(range(20_000))
            plane.wait_idle()

    def test_what_inflates_counts_too(self, server: ModelServer) -> None:
        with a_plane(server.address, listen=[a_listener(limits=Limits(buffered_bytes=50_000))]) as plane:
            request = request_of(numbers=[0] * 20_000)
            code, text = refused(plane, request, compression=grpc.Compression.Gzip)
            assert (code, text) == (Status.RESOURCE_EXHAUSTED, "too many bytes are waiting in this worker")
            plane.wait_idle()


def test_a_whole_message_is_told_by_its_prefix() -> None:
    assert is_whole(framed(b"abc"), 8)
    assert is_whole(memoryview(framed(b"")), 5)
    assert not is_whole(framed(b"abc", flags=1), 8)
    assert not is_whole(framed(b"abc")[:-1], 7)
    assert not is_whole(framed(b"abc") + b"x", 9)
    assert not is_whole(b"\0\0\0\0", 4)


def test_a_view_never_keeps_a_much_larger_read_alive() -> None:
    small, large = bytes(60_000), bytes(200_000)
    view = memoryview(small)[:2000]
    assert unpinned(view) is view
    assert unpinned(b"bytes") == b"bytes"
    assert type(unpinned(memoryview(large)[:2000])) is bytes
