"""What gRPC methods do: inference is `grpc_infer`'s, streaming ones have sessions, and the rest is answered here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingress.grpc_infer import GrpcInference
from gateway.ingress.grpc_message import PREFIX_BYTES
from routing.connectors.grpc_h2 import deadline_exceeded, min_deadline
from transcoding.grpc_framing import encode_message
from transcoding.message import Buffer
from transcoding.methods import Method

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream, Session
    from gateway.ingress.grpc_head import Head
    from gateway.worker import DataPlane


class GrpcService:
    """Answers the unary methods, and opens sessions for the streaming ones."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._loop = plane.loop

    async def unary(self, head: Head, framed: Buffer, stream: GrpcStream, deadline: float | None) -> Buffer:
        """The framed answer to one framed message, by `deadline` in the loop's time. Raises `GatewayError`."""
        method = head.method
        assert method is not None
        if deadline is not None and deadline <= self._loop.time():
            raise deadline_exceeded()
        payload = framed[PREFIX_BYTES:] if len(framed) < 4096 else memoryview(framed)[PREFIX_BYTES:]
        if method.kind == "infer":
            return await GrpcInference(self._plane, method, head, framed, payload, stream).answer(deadline)
        if (limit := stream.listener.deadlines.request) is not None:
            deadline = min_deadline(deadline, self._loop.time() + limit)
        return encode_message((await self._plane.management.answer(method, bytes(payload), deadline),))

    def open_session(self, method: Method, head: Head, stream: GrpcStream) -> Session:
        """The session of a streaming method."""
        from gateway.ingress.grpc_stream import InferSession
        from gateway.ingress.watch import ReflectionSession, WatchSession

        if method.kind == "stream":
            return InferSession(self._plane, head, stream)
        if method.kind == "reflection":
            return ReflectionSession(self._plane, stream)
        return WatchSession(self._plane, stream)
