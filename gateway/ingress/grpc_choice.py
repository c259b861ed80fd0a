"""Where the requests of a ModelStreamInfer call go, as which calls, and what its trailers tell of that.

Each request is routed by its own model and the metadata of the call. What chance decides is decided once per stream and
model, so that answers come from one version while the client keeps the stream, and for a sequence when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from gateway.admission import Visit, unknown
from gateway.ingress.grpc_head import view_of
from gateway.ingress.grpc_message import sequence_of, unpinned
from gateway.ingress.upstream import METHOD
from routing.call import Call, Reply
from routing.match import STREAM, View
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix
from transcoding.http2 import hpack
from transcoding.message import Buffer

if TYPE_CHECKING:
    from gateway.guard import Guard
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.ingress.grpc_request import StreamRequest
    from gateway.snapshot import Route
    from routing.table import Told, Variant

WANT_FINAL = oip_grpc.append_bool_parameter("triton_enable_empty_final_response", True)
REMEMBERED = 1024
MOST_TOLD = 8
"""Choices, and fields of policies, that one stream's trailers tell; a client that needs more has as many streams."""


class StreamChoices:
    """The choices of one stream, by which each request is made a call of its own. `metadata` is what travels upstream
    with each call, by `deadline`."""

    __slots__ = ("_chosen", "_deadline", "_fields", "_guard", "_head", "_metadata", "_routes", "_stream", "_told")

    def __init__(self, guard: Guard, stream: GrpcStream, head: Head, metadata: bytes, deadline: float | None) -> None:
        self._guard = guard
        self._stream = stream
        self._head = head
        self._metadata = metadata
        self._deadline = deadline
        self._chosen: dict[tuple[Route, str], Variant] = {}
        self._told: set[bytes] = set()
        self._routes = b""
        self._fields: dict[bytes, bytes] = {}

    def call(self, route: Route, envelope: oip_grpc.Envelope) -> Call:
        """One request as its client asks it."""
        call = Call(
            METHOD,
            envelope.model,
            envelope.version,
            (),
            metadata=self._metadata,
            deadline=self._deadline,
            sequence=sequence_of(envelope),
            route=route.name,
        ).mark(envelope.parameters)
        if route.needs_view:
            call.view = self._view(envelope.model, call.sequence)
        return call

    async def answer(self, route: Route, envelope: oip_grpc.Envelope, message: Buffer, request: StreamRequest) -> None:
        """Take one request through the chain of its route: who calls first, then where it goes. Raises
        `GatewayError`."""
        call = request.call
        if route.head is None:
            await self._proceed(route, envelope, message, request, call)
            return
        call.proceed = partial(self._proceed, route, envelope, message, request)
        try:
            await route.head(call)
        finally:
            call.proceed = None  # nothing goes round in a circle

    async def _proceed(
        self, route: Route, envelope: oip_grpc.Envelope, message: Buffer, request: StreamRequest, call: Call
    ) -> Reply:
        variant = self._aim(route, envelope, message, request)
        try:
            return await variant.handler(call)
        finally:
            if not request.sent or call.variant != variant.name:
                self.tell(request.choice if call.variant == variant.name else variant.elsewhere(call))

    def _aim(self, route: Route, envelope: oip_grpc.Envelope, message: Buffer, request: StreamRequest) -> Variant:
        """Say where the request goes, and write its message for there. Raises `GatewayError`."""
        call = request.call
        if call.sequence:
            view = call.view or self._view(envelope.model, call.sequence)
            view.principal = call.principal
            variant, model, version, told = route.resolve(view, envelope.version, envelope.parameters)
        else:
            variant = route.only or self._variant(route, call)
            model, version, told = variant.resolve(envelope.model, envelope.version)
        parts: list[Buffer] = [unpinned(message)]
        if version != envelope.version or model != envelope.model:
            parts = oip_grpc.set_target(parts[0], variant.model, version)
        if not envelope.wants_empty_final:
            parts.append(WANT_FINAL)
        call.model, call.version, call.variant, request.choice = model, version, variant.name, told
        call.message = (prefix(sum(map(len, parts))), *parts)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._head.metadata, message)
        if envelope.classified:
            call.prepare = self._guard.of(envelope.classified)
        return variant

    async def refuse(self, model: str) -> NoReturn:
        """Refuse a request for a model that no route takes. Raises `GatewayError`."""
        visit = Visit(self._stream.listener, lambda: self._view(model), [])
        try:
            await unknown(visit, METHOD, model)
        finally:
            self.add(visit.told)

    def _view(self, model: str, sequence: str = "") -> View:
        """What policies, rules and splits see of a request."""
        view = view_of(self._stream, self._head, STREAM, model)
        view.sequence = sequence
        return view

    def _variant(self, route: Route, call: Call) -> Variant:
        """The variant of this model's requests without a sequence."""
        key = (route, call.model)
        variant = self._chosen.get(key)
        if variant is None:
            if len(self._chosen) >= REMEMBERED:
                self._chosen.clear()
            view = call.view or self._view(call.model)
            view.principal = call.principal
            variant = self._chosen[key] = route.choose(view)
        return variant

    def tell(self, told: Told) -> None:
        """Have the trailers tell this of a request."""
        stream = self._stream
        if told.block not in self._told and stream.listener.tells and len(self._told) < MOST_TOLD:
            self._told.add(told.block)
            self._routes += told.block
            self._write()

    def add(self, fields: Sequence[tuple[bytes, bytes]] | None) -> None:
        """Have them tell this too, in place of what was told before under the same name."""
        if not fields:
            return
        for name, value in fields:
            if name in self._fields or len(self._fields) < MOST_TOLD:
                self._fields[name] = value
        self._write()

    def _write(self) -> None:
        self._stream.told = self._routes + hpack.encode(self._fields.items())
