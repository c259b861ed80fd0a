"""A stream of gRPC's own services behind a listener's policies: its session begins once these let it pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.admission import Visit, admitted
from gateway.ingress.grpc_message import too_much_waits
from transcoding.message import Buffer
from transcoding.methods import Method
from transcoding.status import Code, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream, Session

WAITING_MESSAGES = 16


class GuardedSession:
    """Stands for a session until its client is let pass, and hands on to it from then on."""

    def __init__(self, stream: GrpcStream, visit: Visit, method: Method, begin: Callable[[], Session]) -> None:
        self._stream = stream
        self._visit = visit
        self._begin = begin
        self._session: Session | None = None
        self._waiting: deque[tuple[Buffer, bool]] = deque()
        self._half_closed = False
        self._task = stream.listener.loop.create_task(self._admit(method))

    @property
    def full(self) -> bool:
        """Nothing more is wanted until it has begun."""
        return self._session is None or self._session.full

    async def _admit(self, method: Method) -> None:
        try:
            await admitted(self._visit, method, "", "", None, self._start)
        except GatewayError as error:
            self._end(error)

    async def _start(self) -> bytes:
        session = self._session = self._begin()
        try:
            while self._waiting:
                session.message_received(*self._waiting.popleft())
            if self._half_closed:
                session.half_closed()
        except GatewayError as error:
            self._stream.fail(error)
            session.client_gone(error.code)
        self._stream.credit()
        return b""

    def _end(self, error: GatewayError) -> None:
        self._stream.tell(self._visit.told)
        self._stream.fail(error)

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """It waits, or is the session's. Raises `GatewayError` when too many wait."""
        if self._session is not None:
            self._session.message_received(message, compressed)
            return
        if len(self._waiting) >= WAITING_MESSAGES:
            raise too_much_waits()
        self._waiting.append((message, compressed))

    def half_closed(self) -> None:
        """The client will send no more. Raises `GatewayError`."""
        self._half_closed = True
        if self._session is not None:
            self._session.half_closed()

    def client_writable(self) -> None:
        """The client reads again."""
        if self._session is not None:
            self._session.client_writable()

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """The call is over."""
        self._task.cancel()
        if self._session is not None:
            self._session.client_gone(code)
