"""Sends a call somewhere else when the place it was meant for has nothing to offer: another pool, model or version.

`when` says what counts as nothing to offer: `unavailable` (no endpoint is live or can be reached), `not_ready` (the
model, or the version, is not loaded, or still loading), `broken` (breakers keep calls from all endpoints; and, where a
call may run twice without harm, one that failed while it ran), `overloaded` (queues are full: only of use where the
other place has room to spare, so it must be asked for). But for what failed while it ran, these calls never ran.

The answer tells `name` as its variant. Versions and models of the fallback hold whatever the client asked for. Policies
further in belong to the first place and are passed by; those further out hold for both. Requests of a stateful sequence
stay where their state is. A stream is taken to the other place as long as no message of its answer has come.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from config.fields import if_given, text
from config.node import Node
from config.routes import Target
from policies import Services
from routing.call import Call, Handler, Reply
from routing.connectors.outcome import MODEL_BROKEN, AllBroken, absent
from transcoding.grpc_framing import prefix
from transcoding.status import Fault, GatewayError

Why = Literal["unavailable", "not_ready", "broken", "overloaded"]

DEFAULT_WHEN: Final[tuple[Why, ...]] = ("unavailable", "not_ready", "broken")
PREFIX_BYTES: Final = 5


class Spec(Node, frozen=True):
    """Where calls go instead, and when."""

    to: Annotated[Target, Meta(description="Where calls go instead")]
    when: Annotated[tuple[Why, ...], if_given("What sends a call there", bare_item=True)] = DEFAULT_WHEN
    name: Annotated[str, text("What headers and metrics call it")] = "fallback"


class Policy:
    """Awaits `next`, and the other pool after an error that `when` names."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._spec = spec
        self._when = frozenset(spec.when)
        self._services = services

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`, or by the other pool. When that has nothing to offer either, the first error is raised."""
        try:
            return await next(call)
        except GatewayError as error:
            reason = why(call, error)
            if reason is None or reason not in self._when or self._is_late(call):
                raise
            self._services.counters("penstock_fallbacks_total", (call.route, reason)).value += 1
            return await self._instead(call, error)

    def _is_late(self, call: Call) -> bool:
        due = call.due
        return due is not None and self._services.clock() >= due

    async def _instead(self, call: Call, error: GatewayError) -> Reply:
        """Answer by the other pool. The call is the first variant's again when that one's error is the answer."""
        first = call.variant
        self._redirect(call)
        try:
            return await self._services.pools[self._spec.to.pool].forward(call)
        except GatewayError as failure:
            if failure.executed:
                raise
            call.variant = first
            raise error from failure

    def _redirect(self, call: Call) -> None:
        target = self._spec.to
        model = target.model or call.model
        version = self._services.version_of(target, model) if target.version else call.version
        if (model, version) != (call.model, call.version):
            from transcoding.oip_envelope import set_target  # NumPy comes with it, which reading a file must not cost

            parts = set_target(payload_of(call), model if model != call.model else "", version)
            call.message = (prefix(sum(map(len, parts))), *parts)
            call.model, call.version = model, version
        call.variant = self._spec.name
        call.tried = ()


def why(call: Call, error: GatewayError) -> Why | None:
    """What the first place lacks, as this error tells it; None if the error is no reason to go elsewhere."""
    if call.sequence or (call.exchange is not None and call.exchange.spent):
        return None
    if error.executed:
        ran = error.fault in (Fault.WORKER, Fault.MODEL) and error.code in MODEL_BROKEN
        return "broken" if ran and call.idempotent and call.deaths < 2 else None
    if error.fault is Fault.BUSY:
        return "overloaded"
    if isinstance(error, AllBroken):
        return "broken"
    if absent(error):
        return "not_ready"
    return "unavailable" if error.fault is Fault.WORKER else None


def payload_of(call: Call) -> bytes:
    """The message of a call without its prefix, in one piece."""
    return b"".join(call.message)[PREFIX_BYTES:]
