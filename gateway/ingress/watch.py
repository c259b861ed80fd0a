"""The streaming methods that the gateway answers itself: health Watch and server reflection."""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING

from gateway.ingress.grpc_message import not_one
from transcoding.health import service_of, watched
from transcoding.message import Buffer
from transcoding.reflection import SERVICES, gateway_reflector
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.worker import DataPlane

gateway_reflection = cache(gateway_reflector)


class WatchSession:
    """`grpc.health.v1.Health/Watch`: the state now, and each change of it."""

    full = False

    def __init__(self, plane: DataPlane, stream: GrpcStream) -> None:
        self._plane = plane
        self._stream = stream
        self._request: bytes | None = None
        self._told: bytes | None = None
        stream.send_head()

    def message_received(self, message: Buffer) -> None:
        """The service to watch."""
        if self._request is not None:
            raise not_one("several")
        request = bytes(message)
        service_of(request)
        if self._plane.ending:
            raise going_away()
        self._request = request
        self._plane.watchers.add(self)
        self.tell()

    def tell(self) -> None:
        """Send the state if it is another than the last one sent."""
        assert self._request is not None
        state = watched(self._request, SERVICES, self._plane.serving)
        if state != self._told and not self._stream.congested:
            self._told = state
            self._stream.send(state)

    def end(self) -> None:
        """The gateway ends: the client should watch another one."""
        self._plane.watchers.discard(self)
        self._stream.fail(going_away())

    def half_closed(self) -> None:
        """Watching goes on until the client cancels."""
        if self._request is None:
            raise not_one("none")

    def client_writable(self) -> None:
        """A change may have waited."""
        if self._request is not None:
            self.tell()

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """Nobody watches any more."""
        self._plane.watchers.discard(self)


class ReflectionSession:
    """`ServerReflectionInfo`: one answer per question, in order, as fast as the client takes them. Answers are a
    thousand times larger than questions, so it is the questions that wait."""

    def __init__(self, stream: GrpcStream) -> None:
        self._reflector = gateway_reflection()
        self._stream = stream
        self._questions: deque[bytes] = deque()
        self._half_closed = False
        stream.send_head()

    @property
    def full(self) -> bool:
        """The client asks faster than it reads."""
        return bool(self._questions)

    def message_received(self, message: Buffer) -> None:
        """Answer when there is room."""
        self._questions.append(bytes(message))
        self._answer()

    def _answer(self) -> None:
        while self._questions and not self._stream.congested:
            self._stream.send(self._reflector.answer(self._questions.popleft()))
        if self._half_closed and not self._questions:
            self._stream.finish()

    def half_closed(self) -> None:
        """All questions are asked."""
        self._half_closed = True
        self._answer()

    def client_writable(self) -> None:
        """Go on, and take more questions."""
        try:
            self._answer()
        except GatewayError as error:
            self._stream.fail(error)
        if not self._questions:
            self._stream.credit()

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """Nobody takes the answers."""
        self._questions.clear()


def going_away() -> GatewayError:
    """The gateway drains."""
    return GatewayError(Code.UNAVAILABLE, "the gateway is going away", fault=Fault.GATEWAY)
