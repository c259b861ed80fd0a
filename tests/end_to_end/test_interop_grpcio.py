"""grpcio, the channel of most gRPC clients, with its options pushed, before a real gateway and a real Triton."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.data_plane import a_listener, a_plane
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.interop_world import BRIEF, MODELS, World, is_simple, repeat_message, repeated, simple_message
from tests.support.messages import infer_request, stub
from tests.support.model_server import ModelServer, model_server, request_of
from tests.support.triton import start_triton

pytestmark = pytest.mark.triton

TIMEOUT = 20
UNLIMITED = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
OPTIONS: dict[str, dict[str, int]] = {
    "as it is": {},
    "small frames": {"grpc.http2.max_frame_size": 16_384, "grpc.http2.write_buffer_size": 1024},
    "large frames": {"grpc.http2.max_frame_size": 2**24 - 1},
    "small windows": {"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 1024},
    "windows that follow the traffic": {"grpc.http2.bdp_probe": 1, "grpc.http2.lookahead_bytes": 1024},
    "no header table": {"grpc.http2.hpack_table_size.decoder": 0, "grpc.http2.hpack_table_size.encoder": 0},
}


def connect(address: str, options: dict[str, int] | None = None, **more: Any) -> grpc.Channel:
    """A channel with connections of its own."""
    chosen = {"grpc.use_local_subchannel_pool": 1, **UNLIMITED, **(options or {})}
    return grpc.insecure_channel(address, options=list(chosen.items()), **more)


@pytest.fixture(params=OPTIONS)
def channel(request: pytest.FixtureRequest, world: World) -> Iterator[grpc.Channel]:
    with connect(world.address, OPTIONS[request.param]) as channel:
        yield channel


def numbers(count: int) -> Any:
    return np.arange(count, dtype=np.float32)


def identity(channel: grpc.Channel, data: Any, **options: Any) -> Any:
    """What `id_fp32` makes of these numbers."""
    reply = stub(channel).ModelInfer(infer_request("id_fp32", INPUT0=data), timeout=TIMEOUT, **options)
    return np.frombuffer(reply.raw_output_contents[0], np.float32)


def test_unary(channel: grpc.Channel) -> None:
    for number in range(20):
        reply = stub(channel).ModelInfer(simple_message(str(number)), timeout=TIMEOUT)
        assert is_simple(reply)
        assert reply.id == str(number)


def test_four_mebibytes_both_ways(channel: grpc.Channel) -> None:
    data = numbers(2**20)
    assert (identity(channel, data) == data).all()


def test_many_at_once(channel: grpc.Channel) -> None:
    """More than the streams that a connection may have."""
    calls = [stub(channel).ModelInfer.future(simple_message(str(number)), timeout=TIMEOUT) for number in range(400)]
    replies = [call.result() for call in calls]
    assert [reply.id for reply in replies] == [str(number) for number in range(400)]
    assert all(map(is_simple, replies))


def test_a_stream_in_lockstep(channel: grpc.Channel) -> None:
    """Each request waits for the response to the one before."""
    requests: queue.Queue[Any] = queue.Queue()
    replies = stub(channel).ModelStreamInfer(iter(requests.get, None), timeout=TIMEOUT)
    for number in range(10):
        requests.put(repeat_message([number]))
        assert repeated(next(replies)) == number
    requests.put(None)
    assert list(replies) == []
    assert replies.code() is grpc.StatusCode.OK


def test_large_messages_in_a_stream(channel: grpc.Channel) -> None:
    data = numbers(2**18)
    requests = [infer_request("id_fp32", str(number), INPUT0=data + number) for number in range(8)]
    replies = list(stub(channel).ModelStreamInfer(iter(requests), timeout=TIMEOUT))
    for number, reply in enumerate(replies):
        assert reply.infer_response.id == str(number)
        assert (np.frombuffer(reply.infer_response.raw_output_contents[0], np.float32) == data + number).all()
    assert len(replies) == 8


def test_errors(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub(channel).ModelInfer(infer_request("nope", INPUT0=numbers(1)), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "Request for unknown model: 'nope'" in caught.value.details()
    assert is_simple(stub(channel).ModelInfer(simple_message(), timeout=TIMEOUT))


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compression(world: World, compression: grpc.Compression) -> None:
    data = np.zeros(2**20, np.float32)
    with connect(world.address, compression=compression) as channel:
        assert (identity(channel, data) == data).all()
        requests = (infer_request("id_fp32", INPUT0=data) for _ in range(3))
        replies = list(stub(channel).ModelStreamInfer(requests, timeout=TIMEOUT))
        assert [len(reply.infer_response.raw_output_contents[0]) for reply in replies] == [4 * 2**20] * 3


def slow(channel: grpc.Channel, seconds: float) -> Any:
    """A call under way at the model that sleeps."""
    request = infer_request("slow", INPUT0=np.array([seconds], np.float32))
    return stub(channel).ModelInfer.future(request, timeout=TIMEOUT)


def test_pings_with_and_without_calls(world: World) -> None:
    """grpcio, which pings once a second at most, gives up a connection that does not answer in time."""
    options = {
        "grpc.keepalive_time_ms": 1000,
        "grpc.keepalive_timeout_ms": 500,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.http2.ping_timeout_ms": 500,
    }
    with connect(world.address, options) as channel:
        assert slow(channel, 1.8).result().outputs[0].name == "OUTPUT0"
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append)
        time.sleep(1.7)
        assert set(states) == {grpc.ChannelConnectivity.READY}


def test_sent_away_again_and_again(world: World) -> None:
    """GOAWAY after a few requests costs no call, whatever is under way."""
    with connect(world.brief) as channel:
        for _ in range(4):
            calls = [stub(channel).ModelInfer.future(simple_message(), timeout=TIMEOUT) for _ in range(10 * BRIEF)]
            assert all(is_simple(call.result()) for call in calls)


def test_the_same_channel_over_a_restart() -> None:
    """A call in flight is answered, and the next one finds the new process."""
    backoff = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 200}
    with Gateway([start_triton(MODELS).grpc_address]) as gateway, connect(gateway.address, backoff) as channel:
        assert is_simple(stub(channel).ModelInfer(simple_message(), timeout=TIMEOUT))
        held = slow(channel, 1.0)
        time.sleep(0.2)
        restarted = threading.Thread(target=gateway.restart)
        restarted.start()
        assert held.result().outputs[0].name == "OUTPUT0"
        until(lambda: gateway.admin("/readyz")[0] == 0)
        assert is_simple(stub(channel).ModelInfer(simple_message(), timeout=TIMEOUT, wait_for_ready=True))
        restarted.join()


def test_a_call_that_waits_for_the_gateway_to_start() -> None:
    gateway = Gateway([start_triton(MODELS).grpc_address])
    with connect(gateway.address, {"grpc.max_reconnect_backoff_ms": 200}) as channel:
        call = stub(channel).ModelInfer.future(simple_message(), timeout=TIMEOUT, wait_for_ready=True)
        with pytest.raises(grpc.FutureTimeoutError):
            call.result(timeout=0.3)
        with gateway:
            assert is_simple(call.result())


def test_many_streams_and_calls_of_an_event_loop(world: World) -> None:
    async def talk(service: Any, number: int) -> list[int]:
        call = service.ModelStreamInfer(timeout=TIMEOUT)
        heard = []
        for step in range(5):
            await call.write(repeat_message([number, step]))
            heard += [repeated(await call.read()) for _ in range(2)]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return heard

    async def main() -> None:
        async with grpc.aio.insecure_channel(world.address) as channel, asyncio.timeout(TIMEOUT):
            service = stub(channel)
            calls = [service.ModelInfer(simple_message(), timeout=TIMEOUT) for _ in range(100)]
            heard = await asyncio.gather(*(talk(service, number) for number in range(60)))
            assert all([is_simple(await call) for call in calls])
            assert heard == [[x for step in range(5) for x in (number, step)] for number in range(60)]

    asyncio.run(main())


@pytest.fixture
def witness() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


def test_binary_metadata(witness: ModelServer) -> None:
    """A value of any bytes arrives as it was, where it is listed."""
    listener = a_listener(forward_headers=("x-trace-bin", "x-text"))
    values = [bytes(range(256)), b"", b"\0", b"\xff\xff", b"abc"]
    with a_plane(witness.address, listen=[listener]) as plane:
        for value in values:
            plane.stub().ModelInfer(
                request_of(),
                timeout=TIMEOUT,
                metadata=[("x-trace-bin", value), ("x-text", "plain"), ("x-other-bin", b"1")],
            )
    heard = [metadata for method, _, metadata in witness.calls if method == "ModelInfer"]
    assert [metadata["x-trace-bin"] for metadata in heard] == values
    assert {metadata["x-text"] for metadata in heard} == {"plain"}
    assert not any("x-other-bin" in metadata for metadata in heard)
