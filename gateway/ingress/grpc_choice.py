"""Where the requests of a ModelStreamInfer call go, as which calls, and what its trailers tell of that.

Each request is routed by its own model and the metadata of the call. What chance decides is decided once per stream and
model, so that answers come from one version while the client keeps the stream, and for a sequence when it starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingress.grpc_message import sequence_of, unpinned
from gateway.ingress.upstream import METHOD
from routing.call import Call
from routing.match import GRPC, STREAM, View
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix
from transcoding.message import Buffer

if TYPE_CHECKING:
    from gateway.guard import Guard
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.snapshot import Route
    from routing.table import Told, Variant

WANT_FINAL = oip_grpc.append_bool_parameter("triton_enable_empty_final_response", True)
REMEMBERED = 1024
MOST_TOLD = 8
"""Choices that one stream's trailers tell; a client that needs more has as many streams."""


class StreamChoices:
    """The choices of one stream. `metadata` is what travels upstream with each call, by `deadline`."""

    __slots__ = ("_chosen", "_deadline", "_guard", "_head", "_metadata", "_stream", "_told")

    def __init__(self, guard: Guard, stream: GrpcStream, head: Head, metadata: bytes, deadline: float | None) -> None:
        self._guard = guard
        self._stream = stream
        self._head = head
        self._metadata = metadata
        self._deadline = deadline
        self._chosen: dict[tuple[Route, str], Variant] = {}
        self._told: set[bytes] = set()

    def call(self, route: Route, envelope: oip_grpc.Envelope, message: Buffer) -> tuple[Call, Variant, Told]:
        """The call for one request, its variant, and what to tell of that. Raises `GatewayError`."""
        sequence = sequence_of(envelope)
        if sequence:
            view = View(GRPC, STREAM, envelope.model, self._head.metadata, self._stream.address, sequence)
            variant, model, version, told = route.resolve(view, envelope.version, envelope.parameters)
        else:
            variant = route.only or self._variant(route, envelope.model)
            model, version, told = variant.resolve(envelope.model, envelope.version)
        parts: list[Buffer] = [unpinned(message)]
        if version != envelope.version or model != envelope.model:
            parts = oip_grpc.set_target(parts[0], variant.model, version)
        if not envelope.wants_empty_final:
            parts.append(WANT_FINAL)
        call = Call(
            METHOD,
            model,
            version,
            (prefix(sum(map(len, parts))), *parts),
            metadata=self._metadata,
            deadline=self._deadline,
            sequence=sequence,
            route=variant.route,
            variant=variant.name,
        ).mark(envelope.parameters)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._head.metadata, message)
        if envelope.classified:
            call.prepare = self._guard.of(envelope.classified)
        return call, variant, told

    def _variant(self, route: Route, model: str) -> Variant:
        """The variant of this model's requests without a sequence."""
        key = (route, model)
        variant = self._chosen.get(key)
        if variant is None:
            if len(self._chosen) >= REMEMBERED:
                self._chosen.clear()
            view = View(GRPC, STREAM, model, self._head.metadata, self._stream.address)
            variant = self._chosen[key] = route.choose(view)
        return variant

    def tell(self, told: Told) -> None:
        """Have the trailers tell this of a request."""
        stream = self._stream
        if told.block not in self._told and stream.listener.tells and len(self._told) < MOST_TOLD:
            self._told.add(told.block)
            stream.told += told.block
