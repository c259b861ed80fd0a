"""The streaming methods that the gateway answers itself: health Watch and server reflection."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import cache
from typing import TYPE_CHECKING

from gateway.ingress.aside import inflate_small
from gateway.ingress.grpc import not_one
from transcoding.health import service_of, watched
from transcoding.message import Buffer
from transcoding.reflection import SERVICES, gateway_reflector
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.worker import DataPlane

ANSWERS_PER_TURN = 32
QUESTION_BYTES = 4096

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

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """The service to watch."""
        if self._request is not None:
            raise not_one("several")
        request = bytes(inflate_small(message, self._stream.head) if compressed else message)
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
    """`ServerReflectionInfo`: one answer per question, in order.

    An answer can be a thousand times as large as its question, so questions wait while the client does not read, and
    only some are answered in one turn of the event loop.
    """

    def __init__(self, plane: DataPlane, stream: GrpcStream) -> None:
        self._loop = plane.loop
        self._reflector = gateway_reflection()
        self._stream = stream
        self._questions: deque[bytes] = deque()
        self._next_turn: asyncio.Handle | None = None
        self._half_closed = False
        stream.send_head()

    @property
    def full(self) -> bool:
        """The client asks faster than it reads."""
        return len(self._questions) > ANSWERS_PER_TURN or self._stream.congested

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """Answer in its turn. Raises `GatewayError` for a question that nobody needs to ask at such length."""
        if compressed:
            message = inflate_small(message, self._stream.head)
        if len(message) > QUESTION_BYTES:
            raise GatewayError(Code.INVALID_ARGUMENT, f"question longer than {QUESTION_BYTES} bytes")
        self._questions.append(bytes(message))
        if self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._answer_some)

    def _answer_some(self) -> None:
        self._next_turn = None
        for _ in range(min(ANSWERS_PER_TURN, len(self._questions))):
            if self._stream.congested or self._stream.ended:
                return
            try:
                self._stream.send(self._reflector.answer(self._questions.popleft()))
            except GatewayError as error:
                self._stream.fail(error)
                return
        if self._questions:
            self._next_turn = self._loop.call_soon(self._answer_some)
        elif self._half_closed:
            self._stream.finish()
        else:
            self._stream.credit()

    def half_closed(self) -> None:
        """All questions were asked."""
        self._half_closed = True
        if self._next_turn is None:
            self._answer_some()

    def client_writable(self) -> None:
        """Go on."""
        if self._next_turn is None:
            self._answer_some()

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """Nobody asks any more."""
        self._questions.clear()


def going_away() -> GatewayError:
    """The gateway drains."""
    return GatewayError(Code.UNAVAILABLE, "the gateway is going away", fault=Fault.GATEWAY)
