"""How long a call may take: in all, until its answer begins, and between the messages of one.

`total` is for all attempts together and the whole answer, that of a stream with its last message. It is counted from
where the policy stands in the chain, and only ever brings the call's deadline closer: that of the client
(`grpc-timeout`), of the listener or of the route still holds when it is earlier. What is left travels to the endpoint
as `grpc-timeout`; when it is over the work there is cancelled.

`first_byte` and `idle` are for answers that are streams: how long until the first message, all attempts together and
counted as `total` is, and how long from one message to the next. Time in which the client does not read what there is
does not count. An answer that is not a stream comes at once and has neither; `total` is what bounds it.

The client is told DEADLINE_EXCEEDED (504), and which of these it was; a stream that has begun ends with it. In a gRPC
stream each request has these times for its own answer. As the requests share the stream at the endpoint, it is the
gateway that keeps their time, and one that takes too long ends the stream for all.
"""

from __future__ import annotations

from typing import Annotated

from config.fields import duration
from config.node import Node
from policies import Services
from routing.call import Call, Handler, Reply
from routing.limits import name_total
from transcoding.status import GatewayError


class Spec(Node, frozen=True):
    """The longest that a call, or a part of its answer, may take."""

    shorthand = "total"
    some_of = ("total", "first_byte", "idle")

    total: Annotated[float, duration("How long a call may take, all attempts together")] | None = None
    first_byte: Annotated[float, duration("How long until the first message of a stream")] | None = None
    idle: Annotated[float, duration("How long between two messages of a stream")] | None = None


class Policy:
    """Brings the deadline closer; connectors and streams keep it, so no timer is added."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._total = spec.total
        self._first_byte = spec.first_byte
        self._idle = spec.idle
        self._clock = services.clock

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`, within what is left."""
        now, total, exchange = self._clock(), self._total, call.exchange
        if exchange is not None:
            exchange.limits.within(now, self._first_byte, self._idle)
        if total is None or (call.deadline is not None and call.deadline <= now + total):
            return await next(call)
        call.deadline = due = now + total
        if exchange is not None:
            exchange.limits.total, exchange.limits.total_by = total, due
        try:
            return await next(call)
        except GatewayError as error:
            if call.deadline == due:
                name_total(error, total)
            raise
