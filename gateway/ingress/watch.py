"""The streaming methods that the gateway answers itself: health Watch and server reflection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transcoding.health import check_reply, requested_service
from transcoding.message import Buffer
from transcoding.reflection import reflector_for

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.worker import DataPlane
    from transcoding.methods import Method


class WatchSession:
    """`grpc.health.v1.Health/Watch`: the state now, and each change of it."""

    def __init__(self, plane: DataPlane, stream: GrpcStream) -> None:
        self._plane = plane
        self._stream = stream
        self._service: str | None = None
        self._told: bytes | None = None
        stream.send_head()

    def message_received(self, message: Buffer) -> None:
        """The service to watch."""
        if self._service is None:
            self._service = requested_service(bytes(message), watch=True)
            self._plane.watchers.add(self)
            self.tell()

    def tell(self) -> None:
        """Send the state if it is another than the last one sent."""
        assert self._service is not None
        state = check_reply(self._plane.health(self._service, watch=True))
        if state != self._told and not self._stream.congested:
            self._told = state
            self._stream.send(state)

    def half_closed(self) -> None:
        """Watching goes on until the client cancels."""

    def client_writable(self) -> None:
        """A change may have waited."""
        if self._service is not None:
            self.tell()

    def client_gone(self) -> None:
        """Nobody watches any more."""
        self._plane.watchers.discard(self)


class ReflectionSession:
    """`ServerReflectionInfo`: one answer per question, in order."""

    def __init__(self, method: Method, stream: GrpcStream) -> None:
        self._reflector = reflector_for(method.service)
        self._stream = stream
        stream.send_head()

    @property
    def full(self) -> bool:
        """The client asks faster than it reads."""
        return self._stream.congested

    def message_received(self, message: Buffer) -> None:
        """Answer at once."""
        self._stream.send(self._reflector.answer(bytes(message)))

    def half_closed(self) -> None:
        """All questions are answered."""
        self._stream.finish()

    def client_writable(self) -> None:
        """Take more questions."""
        self._stream.credit()

    def client_gone(self) -> None:
        """Nothing is held."""
