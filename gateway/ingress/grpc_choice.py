"""Where the requests of a ModelStreamInfer call go, and what its trailers tell of that.

Each request is routed by its own model and the metadata of the call. What chance decides is decided once per stream,
model and sequence, so that answers come from one version while the client keeps the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from gateway.admission import Visit, unknown
from gateway.ingress.grpc_message import sequence_of, unpinned
from routing.call import Call, Reply
from routing.match import GRPC, STREAM, View
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix
from transcoding.http2 import hpack
from transcoding.message import Buffer
from transcoding.methods import BY_NAME

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.snapshot import Route
    from gateway.worker import DataPlane
    from routing.table import Told, Variant
    from transcoding.dialects.oip_grpc import Envelope

METHOD = BY_NAME["ModelStreamInfer"]
WANT_FINAL = oip_grpc.append_bool_parameter("triton_enable_empty_final_response", True)
REMEMBERED = 1024
MOST_TOLD = 8
"""Choices, and fields of policies, that one stream's trailers tell; a client that needs more has as many streams."""


class StreamChoices:
    """The choices of one stream, by which each request is made a call of its own."""

    __slots__ = ("_chosen", "_fields", "_head", "_metadata", "_plane", "_routes", "_stream", "_told")

    def __init__(self, plane: DataPlane, stream: GrpcStream, head: Head) -> None:
        self._plane = plane
        self._metadata = plane.forwarding.of_head(head, stream.listener.config.forward_headers)
        self._stream = stream
        self._head = head
        self._chosen: dict[tuple[Route, str, str], Variant] = {}
        self._told: set[bytes] = set()
        self._routes = b""
        self._fields: dict[bytes, bytes] = {}

    def call(self, route: Route, envelope: Envelope, deadline: float | None) -> Call:
        """One request as its client asks it."""
        call = Call(
            METHOD,
            envelope.model,
            envelope.version,
            (),
            metadata=self._metadata,
            deadline=deadline,
            sequence=sequence_of(envelope),
            route=route.name,
        ).mark(envelope.parameters)
        if route.needs_view:
            call.view = self.view(envelope)
        return call

    async def answer(self, route: Route, envelope: Envelope, message: Buffer, call: Call) -> None:
        """Take one request through the chain of its route: who calls first, then where it goes. Raises
        `GatewayError`."""
        if route.head is None:
            await self._proceed(route, envelope, message, call)
            return
        call.proceed = partial(self._proceed, route, envelope, message)
        try:
            await route.head(call)
        finally:
            call.proceed = None  # nothing goes round in a circle

    async def _proceed(self, route: Route, envelope: Envelope, message: Buffer, call: Call) -> Reply:
        variant = self.variant(route, envelope, call)
        told = self._aim(variant, envelope, message, call)
        try:
            return await variant.handler(call)
        finally:
            self.tell(told if call.variant == variant.name else variant.elsewhere(call))

    def _aim(self, variant: Variant, envelope: Envelope, message: Buffer, call: Call) -> Told:
        """Have the call go to `variant`; what to tell of that. Raises `GatewayError`."""
        model, version, told = variant.resolve(envelope.model, envelope.version)
        parts: list[Buffer] = [unpinned(message)]
        if version != envelope.version or model != envelope.model:
            parts = oip_grpc.set_target(parts[0], variant.model, version)
        if not envelope.wants_empty_final:
            parts.append(WANT_FINAL)
        call.model, call.version, call.variant = model, version, variant.name
        call.message = (prefix(sum(map(len, parts))), *parts)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._head.metadata, message)
        if envelope.classified:
            call.prepare = self._plane.guard.of(envelope.classified)
        return told

    async def refuse(self, model: str) -> None:
        """Refuse a request for a model that no route takes. Raises `GatewayError`."""
        visit = Visit(self._stream.listener, GRPC, self._head.metadata, self._stream.address, [])
        try:
            await unknown(visit, METHOD, model)
        finally:
            self.add(visit.told)

    def view(self, envelope: Envelope) -> View:
        """What policies, rules and splits see of this request."""
        return View(GRPC, STREAM, envelope.model, self._head.metadata, self._stream.address, sequence_of(envelope))

    def variant(self, route: Route, envelope: Envelope, call: Call) -> Variant:
        """The variant of this request, which goes as `call`."""
        if route.only is not None:
            return route.only
        sequence = sequence_of(envelope)
        key = (route, envelope.model, sequence)
        variant = self._chosen.get(key)
        if variant is None:
            view = call.view or self.view(envelope)
            view.principal = call.principal
            if len(self._chosen) >= REMEMBERED:
                self._chosen.clear()
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
