"""A session's stream at one endpoint, and the requests that wait on it for their last response."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from routing.call import Call
from routing.connectors.streaming import StreamAttempt
from routing.endpoint import Endpoint
from routing.fleet import Lease
from transcoding.message import Buffer
from transcoding.status import GatewayError

if TYPE_CHECKING:
    from routing.pool import Pool


class Session(Protocol):
    """Who reads the stream: `gateway.ingress.grpc_stream.InferSession`."""

    def response(self, upstream: Upstream, message: Buffer) -> None:
        """A response of the endpoint."""

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        """The endpoint ended the stream."""

    def progress(self) -> None:
        """The endpoint made room."""


class Upstream:
    """The session's stream at one endpoint of `pool`, opened by `opener`. `outstanding` requests wait there for their
    last response, each with a lease: they count as load until they end, and no longer."""

    __slots__ = ("_leases", "_session", "attempt", "endpoint", "opener", "pool")

    endpoint: Endpoint
    attempt: StreamAttempt

    def __init__(self, session: Session, pool: Pool, opener: Call) -> None:
        self.pool = pool
        self.opener = opener
        self._session = session
        self._leases: deque[tuple[Lease, Call]] = deque()

    @property
    def outstanding(self) -> int:
        """Requests that wait for their last response."""
        return len(self._leases)

    def send(self, call: Call, message: Sequence[Buffer]) -> None:
        """One request, with its prefix."""
        self._leases.append((self.endpoint.take(call), call))
        self.attempt.send(message)

    def judge(self, error: GatewayError | None) -> None:
        """The oldest request was answered, well or not: what that tells of the endpoint."""
        call = self._leases[0][1]
        self.pool.judge(call, self.endpoint, error)
        self.pool.left(call, self.endpoint)

    def release(self, requests: int, outcome: str | None) -> None:
        """Requests are done, the oldest first: they count no longer, but as `outcome`."""
        for _ in range(requests):
            self._leases.popleft()[0].release(ok=outcome == "ok")
        if outcome is not None and requests:
            self.endpoint.outcomes[outcome] += requests

    def message_received(self, message: Buffer) -> None:
        """A response of the endpoint."""
        self._session.response(self, message)

    def stream_ended(self, error: GatewayError | None) -> None:
        """The endpoint ended the stream."""
        self._session.upstream_ended(self, error)

    def upstream_writable(self) -> None:
        """The endpoint made room."""
        self._session.progress()
