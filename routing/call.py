"""The vocabulary of the request path: a `Call` goes through a chain of policies to a handler, a `Reply` comes back.

A `Handler` is `async (Call) -> Reply`; a `Policy` is a function around one, `async (Call, next) -> Reply`. Chains are
linked once, when a snapshot is built, never per request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from routing.endpoint import Endpoint
from routing.limits import StreamLimits
from transcoding.message import Buffer
from transcoding.methods import Method

if TYPE_CHECKING:
    from routing.pool import Pool


Prepare = Callable[["Pool", "Call"], Awaitable[None]]
"""Makes a call ready for a pool, with the model and version that it has then: writes the message if that depends on
these, and raises `GatewayError` for a call that must not be sent there."""


class Exchange(Protocol):
    """How a call is carried whose answer is a stream of messages. The chain of policies goes around its beginning: the
    handler at the end returns when the first message of the answer has come, and raises what comes in its place, so
    that a policy which only awaits `next` may send the call elsewhere as if it were unary. The messages are the
    exchange's, and so is the rest of the answer: `limits` hold for it too, and `at_end` tells when it is over.
    """

    limits: StreamLimits
    spent: bool
    """The call must not be sent again: its client has heard something of an answer, or later requests have passed."""

    def at(self, pool: Pool, call: Call) -> Endpoint | None:
        """Where this exchange would rather be than where the pool would choose, if the call may go there."""
        ...

    async def ask(self, pool: Pool, call: Call, endpoint: Endpoint) -> None:
        """Send the call to this endpoint, once more after a failure; the first message has come when it returns.
        Raises `GatewayError`."""
        ...

    def at_end(self, done: Callable[[], None]) -> None:
        """Have `done` called when the answer is over, whatever ended it: for what a policy holds until then."""
        ...


class Call:
    """One request in flight, which has one answer, or with an `exchange` a stream of them.

    `message` is a whole gRPC message with its 5-byte prefix, as one buffer or several to be written in order.
    `metadata` is an encoded HPACK fragment that travels upstream. `deadline` is in the event loop's time, None for
    none. `sequence` names a stateful sequence (id as text) whose requests stay on one endpoint. `hash_key` is what the
    pool's picker wants to know of it, if anything. `route` and `variant` are names of the configuration, `principal`
    who calls. `prepare` is awaited before it is sent to any pool. `idempotent` is the route's word that executing it
    twice does no harm. `attempts` counts how often it was sent, `deaths` how often the endpoint ended while it had it;
    endpoints in `tried` are not asked again.
    """

    __slots__ = ("attempts", "deadline", "deaths", "endpoint", "exchange", "hash_key", "idempotent", "message",
                 "metadata", "method", "model", "prepare", "principal", "route", "sequence", "sequence_end",
                 "sequence_start", "tried", "variant", "version")  # fmt: skip

    def __init__(
        self,
        method: Method,
        model: str,
        version: str,
        message: Sequence[Buffer],
        *,
        metadata: bytes = b"",
        deadline: float | None = None,
        sequence: str = "",
        route: str = "",
        variant: str = "",
        hash_key: bytes = b"",
    ) -> None:
        self.method = method
        self.model = model
        self.version = version
        self.message = message
        self.metadata = metadata
        self.deadline = deadline
        self.sequence = sequence
        self.hash_key = hash_key
        self.sequence_start = False
        self.sequence_end = False
        self.endpoint: Endpoint | None = None
        self.tried: tuple[Endpoint, ...] = ()
        self.route = route
        self.variant = variant
        self.principal = ""
        self.idempotent = False
        self.attempts = 0
        self.deaths = 0
        self.prepare: Prepare | None = None
        self.exchange: Exchange | None = None

    @property
    def due(self) -> float | None:
        """When an answer, or the first message of one, must be there: the deadline, or an earlier time that the limits
        of a stream say. In the event loop's time, None for never."""
        return self.deadline if self.exchange is None else self.exchange.limits.first_due(self.deadline)

    def mark(self, parameters: Mapping[str, object]) -> Call:
        """Take over from the request's parameters whether its sequence starts or ends with it; the same call."""
        self.sequence_start = parameters.get("sequence_start") is True
        self.sequence_end = parameters.get("sequence_end") is True
        return self

    def again(self) -> Call:
        """The same request as a call of its own, to be sent beside this one: not to where this one was."""
        other = Call(
            self.method,
            self.model,
            self.version,
            self.message,
            metadata=self.metadata,
            deadline=self.deadline,
            sequence=self.sequence,
            hash_key=self.hash_key,
            route=self.route,
            variant=self.variant,
        )
        other.tried = self.tried if self.endpoint is None else (*self.tried, self.endpoint)
        other.principal, other.idempotent, other.prepare = self.principal, self.idempotent, self.prepare
        other.sequence_start, other.sequence_end = self.sequence_start, self.sequence_end
        return other

    def __repr__(self) -> str:
        version = f" version {self.version}" if self.version else ""
        return f"<Call {self.method.name} {self.model!r}{version}>"


class Reply:
    """An answer: one gRPC message with its 5-byte prefix. Of a call with an exchange it is empty: the messages are the
    exchange's."""

    __slots__ = ("endpoint", "framed")

    def __init__(self, framed: Buffer, endpoint: Endpoint | None = None) -> None:
        self.framed = framed
        self.endpoint = endpoint

    @property
    def payload(self) -> Buffer:
        """The message without its prefix; a view when it is large."""
        framed = self.framed
        return framed[5:] if len(framed) < 4096 else memoryview(framed)[5:]


Handler = Callable[[Call], Awaitable[Reply]]


class Policy(Protocol):
    """Something that happens around a call."""

    async def __call__(self, call: Call, next: Handler, /) -> Reply:
        """Answer the call, usually by awaiting `next`."""
        ...


def link(policies: Sequence[Policy], handler: Handler) -> Handler:
    """The chain `policies[0] → policies[1] → … → handler`, linked once."""
    for policy in reversed(policies):
        handler = _around(policy, handler)
    return handler


def _around(policy: Policy, inner: Handler) -> Handler:
    return lambda call: policy(call, inner)
