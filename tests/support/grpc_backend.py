"""A real grpcio server whose methods are functions on bytes, for faults that a Triton will not produce on demand."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

Unary = Callable[[bytes, grpc.ServicerContext], bytes]
Stream = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


OPTIONS = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1, "grpc.so_reuseport": 0}


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, unary: Any, stream: Any) -> None:
        self._unary = grpc.unary_unary_rpc_method_handler(unary)
        self._stream = grpc.stream_stream_rpc_method_handler(stream)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._stream if details.method.endswith("ModelStreamInfer") else self._unary


def echo(message: bytes, context: grpc.ServicerContext) -> bytes:
    return message


def echo_stream(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from messages


def channel_options(named: dict[str, Any]) -> list[tuple[str, Any]]:
    """gRPC's options; `http2_max_frame_size` stands for `grpc.http2.max_frame_size`."""
    names = {"grpc." + re.sub("^http2_(hpack_table_size_)?", _dotted, name): value for name, value in named.items()}
    return [*{**OPTIONS, **names}.items()]


def _dotted(prefix: re.Match[str]) -> str:
    return prefix[0].removesuffix("_").replace("http2_", "http2.") + "."


def new_server(
    unary: Unary = echo, stream: Stream = echo_stream, port: int = 0, **more: Any
) -> tuple[grpc.Server, str]:
    """A server that is not started, and its address. `more` are `compression` and options as for `channel_options`."""
    compression = more.pop("compression", None)
    server = grpc.server(ThreadPoolExecutor(32), options=channel_options(more), compression=compression)
    server.add_generic_rpc_handlers((_Handlers(unary, stream),))
    return server, f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"


@contextmanager
def grpc_backend(unary: Unary = echo, stream: Stream = echo_stream, port: int = 0, **more: Any) -> Iterator[str]:
    """Its address, while it runs; `more` as for `new_server`."""
    server, address = new_server(unary, stream, port, **more)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


class AioServer:
    """The same of grpc.aio, on a thread with a loop of its own. It echoes."""

    def __init__(self, **more: Any) -> None:
        self.address = ""
        self.loop = asyncio.new_event_loop()
        self._more = more
        self._server: Any = None
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    async def _start(self) -> None:
        compression = self._more.pop("compression", None)
        self._server = grpc.aio.server(options=channel_options(self._more), compression=compression)
        self._server.add_generic_rpc_handlers((_Handlers(_echo, _echo_stream),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    def stop(self, grace: float | None = None) -> None:
        """GOAWAY at once; calls under way have `grace` seconds."""
        asyncio.run_coroutine_threadsafe(self._server.stop(grace), self.loop).result(20)

    def __enter__(self) -> AioServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


async def _echo(message: bytes, context: Any) -> bytes:
    await asyncio.sleep(0)
    return message


async def _echo_stream(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message
