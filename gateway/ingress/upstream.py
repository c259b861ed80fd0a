"""A session's stream at one endpoint, and the requests that wait on it for their last response."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from routing.connectors.streaming import StreamAttempt
from routing.endpoint import Endpoint
from transcoding.message import Buffer
from transcoding.status import GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc_request import StreamRequest


class Session(Protocol):
    """Who reads the stream: `gateway.ingress.grpc_stream.InferSession`."""

    def response(self, upstream: Upstream, message: Buffer) -> None:
        """A response of the endpoint."""

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        """The endpoint ended the stream."""

    def progress(self) -> None:
        """The endpoint made room."""


class Upstream:
    """The session's stream at one endpoint; `closing` once it will send no more requests there. `outstanding` requests
    wait for their last response."""

    __slots__ = ("_session", "_waiting", "attempt", "closing", "endpoint", "outstanding")

    attempt: StreamAttempt

    def __init__(self, session: Session, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closing = False
        self.outstanding = 0
        self._session = session
        self._waiting: dict[str, deque[StreamRequest]] = {}

    def add(self, request: StreamRequest) -> None:
        """It waits here from now on."""
        self.outstanding += 1
        waiting = self._waiting.get(request.id)
        if waiting is None:
            self._waiting[request.id] = deque((request,))
        else:
            waiting.append(request)

    def of(self, id: str) -> StreamRequest | None:
        """Whose response has this id: of those that share one, the first that is not done. That of an endpoint which
        does not repeat ids is taken for the first request's of all."""
        waiting = self._waiting.get(id)
        if waiting is None:
            waiting = next(iter(self._waiting.values()), None)
        return None if waiting is None else waiting[0]

    def shares(self, id: str) -> bool:
        """Does a request with this id wait here?"""
        return id in self._waiting

    def remove(self, request: StreamRequest) -> None:
        """It is done, or lost."""
        waiting = self._waiting[request.id]
        waiting.remove(request)
        self.outstanding -= 1
        if not waiting:
            del self._waiting[request.id]

    def clear(self) -> list[StreamRequest]:
        """All that wait, and wait here no longer."""
        left = [request for waiting in self._waiting.values() for request in waiting]
        self._waiting.clear()
        self.outstanding = 0
        return left

    def close(self) -> None:
        """No more requests are sent here."""
        self.closing = True
        self.attempt.half_close()

    def message_received(self, message: Buffer) -> None:
        """A response of the endpoint."""
        self._session.response(self, message)

    def stream_ended(self, error: GatewayError | None) -> None:
        """The endpoint ended the stream."""
        self._session.upstream_ended(self, error)

    def upstream_writable(self) -> None:
        """The endpoint made room."""
        self._session.progress()
