"""One ModelInfer call.

Its message passes through unparsed: a scanner reads model, version and sequence from the protobuf wire, a version that
the route chose is appended, and the tensors are never looked at. Who calls is found out before anything is chosen; the
rest of the way is `GrpcInference.proceed`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.ingress.grpc_head import view_of
from gateway.ingress.grpc_message import sequence_of
from gateway.snapshot import Route, code_of
from routing.call import Call, Reply
from routing.match import INFER, View
from routing.pins import Resolved
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix
from transcoding.message import Buffer
from transcoding.methods import Method

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.worker import DataPlane


class GrpcInference:
    """One call, to be answered once. `framed` is its message, `payload` the same without its prefix, and `envelope`
    what it says beside its tensors."""

    __slots__ = ("_envelope", "_framed", "_head", "_method", "_payload", "_plane", "_route", "_stream")

    def __init__(
        self,
        plane: DataPlane,
        route: Route,
        method: Method,
        head: Head,
        envelope: oip_grpc.Envelope,
        framed: Buffer,
        payload: Buffer,
        stream: GrpcStream,
    ) -> None:
        self._plane = plane
        self._route = route
        self._method = method
        self._head = head
        self._framed = framed
        self._payload = payload
        self._stream = stream
        self._envelope = envelope

    async def answer(self, until: float | None) -> Buffer:
        """The framed reply, by `until` in the loop's time. Raises `GatewayError`."""
        route, stream = self._route, self._stream
        call = self._call(until)
        route.in_flight.value += 1
        started, code = perf_counter(), 0
        try:
            head = route.head
            if head is None:
                reply = await self.proceed(call)
            else:
                call.proceed = self.proceed
                reply = await head(call)
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            route.finish("inference", code, started, call.variant)
            if call.told:
                stream.tell(call.told)
        return reply.framed

    def _call(self, until: float | None) -> Call:
        envelope, route, listener = self._envelope, self._route, self._stream.listener
        call = Call(
            self._method,
            envelope.model,
            envelope.version,
            (),
            metadata=self._plane.forwarding.of_head(self._head, listener.config.forward_headers),
            deadline=route.deadline(listener.loop, listener.deadlines.request, until),
            route=route.name,
        )
        if route.needs_view:
            call.view = self._view()
        return call

    def _view(self) -> View:
        return view_of(self._stream, self._head, INFER, self._envelope.model)

    async def proceed(self, call: Call) -> Reply:
        """Choose, and hand on to the policies behind that. Raises `GatewayError`."""
        envelope, stream = self._envelope, self._stream
        call.sequence = sequence_of(envelope) if envelope.parameters else ""
        variant = self._route.only
        model, version = envelope.model, envelope.version
        if variant is None or call.sequence:
            variant, model, version, told = self._resolve(call)
        else:
            told = variant.told
            if variant.alters:
                model, version, told = variant.resolve(model, version)
        message: tuple[Buffer, ...] = (self._framed,)
        if variant.alters:
            parts = oip_grpc.set_target(self._payload, variant.model, version)
            message = (prefix(sum(map(len, parts))), *parts)
        if stream.listener.tells:
            stream.told = told.block
        call.model, call.version, call.variant, call.message = model, version, variant.name, message
        if call.sequence:
            call.mark(envelope.parameters)
        if envelope.classified:
            call.prepare = self._plane.guard.of(envelope.classified)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._head.metadata, self._payload)
        reply = await variant.handler(call)
        if call.variant != variant.name and stream.listener.tells:
            stream.told = variant.elsewhere(call).block
        return reply

    def _resolve(self, call: Call) -> Resolved:
        envelope, view = self._envelope, call.view or self._view()
        view.sequence = call.sequence
        view.principal = call.principal
        return self._route.resolve(view, envelope.version, envelope.parameters)
