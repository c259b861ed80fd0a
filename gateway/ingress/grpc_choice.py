"""Where the requests of a ModelStreamInfer call go, and what its trailers tell of that.

Each request is routed by its own model and the metadata of the call. What chance decides is decided once per stream,
model and sequence, so that answers come from one version while the client keeps the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingress.grpc_message import sequence_of
from routing.match import GRPC, STREAM, View

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.snapshot import Route
    from routing.table import Told, Variant
    from transcoding.dialects.oip_grpc import Envelope

REMEMBERED = 1024
MOST_TOLD = 8
"""Choices that one stream's trailers tell; a client that needs more has as many streams."""


class StreamChoices:
    """The choices of one stream."""

    __slots__ = ("_chosen", "_head", "_stream", "_told")

    def __init__(self, stream: GrpcStream, head: Head) -> None:
        self._stream = stream
        self._head = head
        self._chosen: dict[tuple[Route, str, str], Variant] = {}
        self._told: set[bytes] = set()

    def variant(self, route: Route, envelope: Envelope) -> Variant:
        """The variant of this request."""
        if route.only is not None:
            return route.only
        sequence = sequence_of(envelope)
        key = (route, envelope.model, sequence)
        variant = self._chosen.get(key)
        if variant is None:
            view = View(GRPC, STREAM, envelope.model, self._head.metadata, self._stream.address, sequence)
            if len(self._chosen) >= REMEMBERED:
                self._chosen.clear()
            variant = self._chosen[key] = route.choose(view)
        return variant

    def tell(self, told: Told) -> None:
        """Have the trailers tell this of a request."""
        stream = self._stream
        if told.block not in self._told and stream.listener.tells and len(self._told) < MOST_TOLD:
            self._told.add(told.block)
            stream.told += told.block
