"""What gRPC methods do: inference is `grpc_infer`'s, streaming ones have sessions, and the rest is answered here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn

from gateway.admission import Visit, admitted, is_open, unknown
from gateway.ingress.grpc_head import view_of
from gateway.ingress.grpc_infer import GrpcInference
from gateway.ingress.grpc_message import PREFIX_BYTES
from routing.connectors.grpc_h2 import deadline_exceeded, min_deadline
from routing.match import INFER
from transcoding.dialects import oip_grpc
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
            envelope = oip_grpc.scan_request(payload)
            route = stream.listener.snapshot.find(envelope.model)
            if route is None:
                return await self._unknown(method, envelope.model, head, stream)
            infer = GrpcInference(self._plane, route, method, head, envelope, framed, payload, stream)
            return await infer.answer(deadline)
        if (limit := stream.listener.deadlines.request) is not None:
            deadline = min_deadline(deadline, self._loop.time() + limit)
        return encode_message((await self._manage(method, head, bytes(payload), stream, deadline),))

    async def _unknown(self, method: Method, model: str, head: Head, stream: GrpcStream) -> NoReturn:
        visit = visit_of(head, stream, method, model)
        try:
            await unknown(visit, method, model)
        finally:
            stream.tell(visit.told)

    async def _manage(
        self, method: Method, head: Head, message: bytes, stream: GrpcStream, deadline: float | None
    ) -> bytes:
        model, version = method.target(message)
        visit = visit_of(head, stream, method, model)
        work = partial(self._plane.management.answer, method, message, deadline)
        try:
            return await admitted(visit, method, model, version, deadline, work)
        finally:
            stream.tell(visit.told)

    def open_session(self, method: Method, head: Head, stream: GrpcStream) -> Session:
        """The session of a streaming method."""
        from gateway.ingress.grpc_guarded import GuardedSession
        from gateway.ingress.grpc_stream import InferSession
        from gateway.ingress.watch import ReflectionSession, WatchSession

        if method.kind == "stream":
            return InferSession(self._plane, head, stream)
        session = ReflectionSession if method.kind == "reflection" else WatchSession
        begin = partial(session, self._plane, stream)
        if is_open(method, stream.listener):
            return begin()
        return GuardedSession(stream, visit_of(head, stream, method), method, begin)


def visit_of(head: Head, stream: GrpcStream, method: Method, model: str = "") -> Visit:
    """A call as policies of listeners see it."""
    name = INFER if method.kind == "infer" else method.api
    return Visit(stream.listener, lambda: view_of(stream, head, name, model), [])
