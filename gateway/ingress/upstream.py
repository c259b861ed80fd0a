"""A session's streams at endpoints, and the requests that wait on them for their last response."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections import deque
from typing import TYPE_CHECKING, Protocol

from routing.connectors.streaming import StreamAttempt
from routing.endpoint import Endpoint
from transcoding.message import Buffer
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc_request import StreamRequest

METHOD = BY_NAME["ModelStreamInfer"]


class Session(Protocol):
    """Whose streams and requests they are: `gateway.ingress.grpc_stream.InferSession`. `deadline` is that of the whole
    call, in the loop's time."""

    loop: AbstractEventLoop
    deadline: float | None
    upstreams: Upstreams

    def response(self, upstream: Upstream, message: Buffer) -> None:
        """A response of the endpoint."""

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        """The endpoint ended the stream."""

    def progress(self) -> None:
        """The endpoint made room."""

    async def wait(self) -> None:
        """Wait for `progress`: for the one request whose turn it is to be sent."""

    async def room(self, upstream: Upstream, first: Future[None]) -> None:
        """Wait until the endpoint has taken most of what it was sent, or `first` is there."""

    def was_sent(self, request: StreamRequest, upstream: Upstream) -> None:
        """A request was sent, perhaps once more."""

    def pass_on(self) -> None:
        """It is the next request's turn."""

    def left_limbo(self, request: StreamRequest) -> None:
        """A request is sent once more, or will not be."""

    def forget(self, request: StreamRequest) -> None:
        """A request will not be sent again."""

    def expired(self, error: GatewayError) -> None:
        """The time of a request is over."""


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


class Upstreams:
    """The streams of one session that are `open`, with what travels at their head and the time that they have. `limbo`
    is how many of the session's requests wait nowhere, as they may be sent once more."""

    def __init__(self, session: Session, metadata: bytes, deadline: float | None) -> None:
        self.open: list[Upstream] = []
        self.limbo = 0
        self._session = session
        self._metadata = metadata
        self._deadline = deadline

    async def at(self, endpoint: Endpoint) -> Upstream:
        """The stream at this endpoint that still takes requests, opened if there is none. Raises `GatewayError`."""
        found = self._find(endpoint)
        if found is not None:
            return found
        upstream = Upstream(self._session, endpoint)
        upstream.attempt = await endpoint.channel.stream(
            METHOD.path, upstream, metadata=self._metadata, deadline=self._deadline
        )
        found = self._find(endpoint)
        if found is not None:  # by another request, which is sent once more
            upstream.attempt.cancel()
            return found
        self.open.append(upstream)
        return upstream

    def _find(self, endpoint: Endpoint) -> Upstream | None:
        for upstream in self.open:
            if upstream.endpoint is endpoint and not upstream.closing:
                return upstream
        return None

    def must_wait(self, request: StreamRequest, upstream: Upstream) -> bool:
        """Could the answer to a request that is sent there now be taken for another's, or be wrong?"""
        return (not request.id and self.wait_elsewhere(upstream)) or (request.ordered and self.limbo > 0)

    def wait_elsewhere(self, upstream: Upstream | None) -> bool:
        """Are there answers to come from other endpoints? A client that gives no ids tells answers by their order,
        which holds on one endpoint only."""
        return any(each.outstanding for each in self.open if each is not upstream)

    def alone(self, request: StreamRequest) -> bool:
        """Is no other request under way that this one could be taken for when it is sent after it?"""
        if request.ordered:
            return not self.limbo and not self.wait_elsewhere(None)
        return not any(each.shares(request.id) for each in self.open)


def unanswered(address: str) -> GatewayError:
    """The endpoint ended the stream well, but not the requests on it."""
    text = f"endpoint {address} ended its stream before it answered all requests"
    return GatewayError(Code.UNAVAILABLE, text, fault=Fault.WORKER, executed=True)
