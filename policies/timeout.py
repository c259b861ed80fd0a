"""How long a call may take, all attempts together.

`total` is counted from where the policy stands in the chain, and only ever brings the call's deadline closer: that of
the client (`grpc-timeout`), of the listener or of the route still holds when it is earlier. What is left travels to the
endpoint as `grpc-timeout`; when it is over the work there is cancelled and the client is told DEADLINE_EXCEEDED (504).
"""

from __future__ import annotations

from typing import Annotated

from config.fields import duration
from config.node import Node
from policies import Services
from routing.call import Call, Handler, Reply


class Spec(Node, frozen=True):
    """The longest that a call may take."""

    shorthand = "total"

    total: Annotated[float, duration("How long a call may take, all attempts together")]


class Policy:
    """Brings the deadline closer; the connector keeps it, so no timer is added."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._total = spec.total
        self._clock = services.clock

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`, within what is left."""
        due = self._clock() + self._total
        if call.deadline is None or due < call.deadline:
            call.deadline = due
        return await next(call)
