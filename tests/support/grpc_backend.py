"""A real grpcio server whose methods are functions on bytes, for faults that a Triton will not produce on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

Unary = Callable[[bytes, grpc.ServicerContext], bytes]
Stream = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, unary: Unary, stream: Stream) -> None:
        self._unary = grpc.unary_unary_rpc_method_handler(unary)
        self._stream = grpc.stream_stream_rpc_method_handler(stream)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._stream if details.method.endswith("ModelStreamInfer") else self._unary


def echo(message: bytes, context: grpc.ServicerContext) -> bytes:
    return message


def echo_stream(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from messages


@contextmanager
def grpc_backend(unary: Unary = echo, stream: Stream = echo_stream, port: int = 0) -> Iterator[str]:
    """Its address, while it runs."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((_Handlers(unary, stream),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(None).wait()
