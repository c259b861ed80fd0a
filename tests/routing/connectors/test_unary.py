"""One unary call: what the endpoint says, what it means when it says nothing, and giving up."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest

from routing.connectors.grpc_h2 import Channel
from tests.support.channel import a_call, run
from tests.support.grpc_backend import grpc_backend
from transcoding.status import Code, Fault, GatewayError


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND]
)
def test_the_endpoints_error_is_told(code: grpc.StatusCode) -> None:
    def fail(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "so it is: ümlaut")
        raise AssertionError

    async def use(channel: Channel) -> None:
        with pytest.raises(GatewayError, match="so it is: ümlaut") as caught:
            await channel.unary(a_call())
        assert caught.value.code == code.value[0]

    with grpc_backend(fail) as address:
        run(address, use)


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_giving_up_cancels_the_work_at_the_endpoint(how: str) -> None:
    started, gone = threading.Event(), threading.Event()

    def hang(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(gone.set)
        started.set()
        gone.wait(10)
        return message

    async def use(channel: Channel) -> None:
        deadline = channel.loop.time() + 0.3 if how == "deadline" else None
        task = asyncio.ensure_future(channel.unary(a_call(deadline=deadline)))
        while not started.is_set():
            await asyncio.sleep(0.005)
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(GatewayError) as caught:
                await task
            assert caught.value.code is Code.DEADLINE_EXCEEDED
        while not gone.is_set():
            await asyncio.sleep(0.005)

    with grpc_backend(hang) as address:
        run(address, use)


def test_an_endpoint_that_dies_while_executing_is_told_apart_from_one_that_never_got_the_request() -> None:
    async def serve_and_drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\4\0\0\0\0\0")  # empty SETTINGS
        data = b""
        while b"hello" not in data:
            data += await reader.read(65536)
        writer.transport.abort()

    async def main() -> None:
        server = await asyncio.start_server(serve_and_drop, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = Channel(f"127.0.0.1:{port}")
        channel.start()
        with pytest.raises(GatewayError, match="broke off") as caught:
            await channel.unary(a_call())
        assert (caught.value.fault, caught.value.executed, caught.value.http_status) == (Fault.WORKER, True, 502)
        await channel.aclose()
        server.close()

    asyncio.run(main())


def test_an_answer_over_the_limit_is_refused() -> None:
    async def use(channel: Channel) -> None:
        with pytest.raises(GatewayError, match="larger than 1000 bytes"):
            await channel.unary(a_call(b"x" * 2000))
        assert (await channel.unary(a_call(b"x" * 1000))).payload == b"x" * 1000

    with grpc_backend() as address:
        run(address, use, message_bytes=1000)


def test_a_compressed_answer_that_nobody_asked_for_is_refused() -> None:
    async def use(channel: Channel) -> None:
        with pytest.raises(GatewayError, match="compressed its answer") as caught:
            await channel.unary(a_call(b"x" * 2000))
        error = caught.value
        assert (error.code, error.http_status, error.fault, error.executed) == (
            Code.INTERNAL,
            502,
            Fault.WORKER,
            True,
        )

    with grpc_backend(compression=grpc.Compression.Gzip) as address:
        run(address, use)
