"""What gRPC methods do: unary ones are answered here, streaming ones have sessions.

Inference messages pass through unparsed: a scanner reads model, version and sequence from the protobuf wire, a
version that the route chose is appended, and the tensors are never looked at.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.ingress.grpc_message import PREFIX_BYTES, sequence_of
from gateway.snapshot import code_of
from routing.call import Call
from routing.connectors.grpc_h2 import deadline_exceeded, min_deadline
from routing.match import GRPC, INFER, View
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import encode_message, prefix
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
            return await self._infer(method, head, framed, payload, stream, deadline)
        if (limit := stream.listener.deadlines.request) is not None:
            deadline = min_deadline(deadline, self._loop.time() + limit)
        return encode_message((await self._plane.management.answer(method, bytes(payload), deadline),))

    async def _infer(
        self, method: Method, head: Head, framed: Buffer, payload: Buffer, stream: GrpcStream, until: float | None
    ) -> Buffer:
        envelope = oip_grpc.scan_request(payload)
        asked, listener = envelope.model, stream.listener
        route = self._plane.snapshot.dispatch(asked)
        variant = route.only
        route.in_flight.value += 1
        started, code = perf_counter(), 0
        call: Call | None = None
        try:
            deadline = route.deadline(self._loop, listener.deadlines.request, until)
            sequence = sequence_of(envelope) if envelope.parameters else ""
            model, version = asked, envelope.version
            if variant is None or sequence:
                view = View(GRPC, INFER, asked, head.metadata, stream.address, sequence)
                variant, model, version, told = route.resolve(view, version, envelope.parameters)
            else:
                told = variant.told
                if variant.alters:
                    model, version, told = variant.resolve(model, version)
            if listener.tells:
                stream.told = told.block
            message: tuple[Buffer, ...] = (framed,)
            if variant.alters:
                parts = oip_grpc.set_target(payload, variant.model, version)
                message = (prefix(sum(map(len, parts))), *parts)
            call = Call(
                method,
                model,
                version,
                message,
                metadata=self._plane.forwarding.of_head(head, listener.config.forward_headers),
                deadline=deadline,
                sequence=sequence,
                route=route.name,
                variant=variant.name,
            )
            if sequence:
                call.mark(envelope.parameters)
            if envelope.classified:
                call.prepare = self._plane.guard.of(envelope.classified)
            if (keyed := variant.pool.hash_key) is not None:
                call.hash_key = keyed.of(head.metadata, payload)
            reply = await variant.handler(call)
            if call.variant != variant.name and listener.tells:
                stream.told = variant.elsewhere(call).block
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            chosen = "" if variant is None else variant.name
            route.finish("inference", code, started, chosen if call is None else call.variant)
        return reply.framed

    def open_session(self, method: Method, head: Head, stream: GrpcStream) -> Session:
        """The session of a streaming method."""
        from gateway.ingress.grpc_stream import InferSession
        from gateway.ingress.watch import ReflectionSession, WatchSession

        if method.kind == "stream":
            return InferSession(self._plane, head, stream)
        if method.kind == "reflection":
            return ReflectionSession(self._plane, stream)
        return WatchSession(self._plane, stream)
