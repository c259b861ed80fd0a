"""Lets so many calls run at once, and the others wait their turn.

`limit` holds for each `by`: a `route`, `model`, `pool` (these may be `[pool, model]`), `principal`, `tenant`, `address`
or `header:NAME`, or `all`. It is a number, or `adaptive`: learned from how long calls take (the gradient of Envoy and
Netflix, described in `routing/gradient.py`). A number is of a node: its workers share permits in memory, and the worker
where the most urgent call waits has the next one. An adaptive limit is learned by each worker for itself, of whose
bounds it has its share. N nodes let N times as much run.

Calls beyond the limit wait in `queue`, which has room for so many `requests` and `bytes` for each key (this worker's
share of them; all keys together, eight times that), for `wait` at most. A waiting call leaves when its client does, and
when its deadline comes too near for what calls take: then it never costs anything.

`classes` are listed from the most urgent to the least. A call is of the first that fits: by `scope`, `principal`,
`tenant` (one of these, where given) and `header`, all that it names. A class that names nothing takes what no other
does; without such a class, that comes last. A header alone lets every client choose, so name a scope with it. A more
urgent class always goes first; within one, `tenants` (or principals, where those have none) have equal shares, on each
worker. When the queue is full the least urgent make room and, within a class, the tenant of whom most wait.

Refusals are 429 where the limit is the caller's own (by principal, tenant, address or header), and 503 where there is
no room for anybody, with a `Retry-After` from the pace at which calls end; 504 for a deadline that came first. What
streams is in flight until its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta

from config.fields import MIB, count, duration, if_given, items, number, size, text
from config.match import Patterns, compile_patterns
from config.node import Node
from config.routes import HeaderName, Pattern
from policies import Services
from routing.call import Call, Handler, Reply
from routing.gate import Gate
from routing.gradient import Gradient
from routing.limit_key import HEADER, limit_key, names_caller, needs_pool, needs_view
from routing.order import IDENTITY, Options, Unsound
from routing.queueing import End, FairQueue, Waiting
from routing.refusals import no_room, over_limit
from transcoding.status import Code, Fault, GatewayError

ALL_KEYS: Final = 8
"""How many queues' worth may wait under all keys together."""
MANY_GATES: Final = 4096
OWN: Final = ("principal", "tenant", "address")
"""What makes a limit the caller's own."""


def _asks_who(options: Options) -> bool:
    """Whether a limit, or what is urgent, depends on who calls."""
    named = any(each["scope"] or each["principal"] or each["tenant"] for each in options["classes"])
    return named or names_caller(options["by"])


ORDER = (
    Unsound("without", IDENTITY, "nobody is known to it, so all callers are one", _asks_who),
    Unsound(
        "before",
        IDENTITY,
        "who is refused there has taken the place of others; let it come later",
        lambda options: not _asks_who(options),
    ),
    Unsound("before", "authorize", "who is refused there has taken the place of others; let it come later"),
    Unsound("before", "rate_limit", "what is refused there has taken the place of others; let it come later"),
    Unsound("before", "cache", "a hit waits for its turn though no endpoint works for it; let the cache come first"),
    Unsound("after", "retry", "what finds no room comes again, and each attempt waits anew; let retry come later"),
    Unsound("after", "hedge", "each of a pair takes a place, and the second one waits for it; let hedge come later"),
)

Scope = Annotated[str, text("A scope", "value")]
Value = Annotated[str, text("The whole value", "value")]
LimitKey = Annotated[str, text("all, principal, tenant, model, route, pool, address or header:NAME", "limit_key")]


class Adaptive(Node, frozen=True):
    """Bounds of a limit that is learned, for a node."""

    min: Annotated[int, count("Calls that may always run, 1 for each worker at least", 1)] = 1
    max: Annotated[int, count("Calls that never more than run", 1)] = 1000
    initial: Annotated[int, count("Where it begins", 1)] = 8
    buffer: Annotated[float, number("How much longer than without a queue calls may take", 0.0, 10.0)] = 0.25


class Limit(Node, frozen=True):
    """How many calls may run at once: a number, or one that is learned."""

    shorthand = "fixed"
    one_of = ("fixed", "adaptive")

    fixed: Annotated[int, count("How many, of all workers of a node", 1)] | None = None
    adaptive: Adaptive | None = None


class Queue(Node, frozen=True):
    """How much may wait, and how long."""

    requests: Annotated[int, count("How many calls", 0)] = 1000
    bytes: Annotated[int, size("How many bytes of them")] = 64 * MIB
    wait: Annotated[float, duration("How long")] = 5.0


class Class(Node, frozen=True):
    """One class of calls, by all that is named."""

    name: Annotated[str, text("What metrics call it")]
    scope: Annotated[tuple[Scope, ...], if_given("One of these is a scope of the caller", bare_item=True)] = ()
    principal: Annotated[tuple[Pattern, ...], if_given("Who calls: names or globs", bare_item=True)] = ()
    tenant: Annotated[tuple[Pattern, ...], if_given("Whom they belong to: names or globs", bare_item=True)] = ()
    header: HeaderName | None = None
    equals: Annotated[tuple[Value, ...], if_given("One of these is the header's value", bare_item=True)] = ()


class Spec(Node, frozen=True):
    """How many calls run at once, and who waits for them."""

    limit: Annotated[Limit, Meta(description="How many run at once: a number, or adaptive")]
    by: Annotated[tuple[LimitKey, ...], if_given("Whose limit it is", bare_item=True)] = ("route",)
    queue: Annotated[Queue, Meta(description="How much may wait, and how long")] = Queue()
    classes: Annotated[tuple[Class, ...], items("From the most urgent to the least")] = ()


class Policy:
    """Has each call wait for a permit, and gives that back when the call is over, once, whatever ended it."""

    guards = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self.needs_view = needs_view(spec.by) or any(each.header for each in spec.classes)
        self.needs_pool = needs_pool(spec.by)
        self._spec = spec
        self._name = services.name or "concurrency"
        self._services = services
        self._clock = services.clock
        self._key = limit_key(spec.by)
        self._own = any(part in OWN or part.startswith(HEADER) for part in spec.by)
        self._class_of, self._classes = _classes(spec.classes)
        self._gates: dict[str, Gate] = {}
        self._many = MANY_GATES
        self._workers = services.siblings.count
        self._permits = services.siblings.permits  # now: what a worker that died held in it is free from here on
        self._waiting = self._waiting_bytes = 0
        self._most_waiting = ALL_KEYS * self._share(spec.queue.requests)
        self._most_bytes = ALL_KEYS * self._share(spec.queue.bytes)
        self._in_flight = services.gauges("penstock_concurrency_in_flight", (self._name,))
        self._waits = [services.gauges("penstock_concurrency_waiting", (self._name, name)) for name in self._classes]

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next` when it is this call's turn. Raises `GatewayError` 429, 503 or 504 if that does not come."""
        key = self._key(call)
        gate = self._gates.get(key) or self._open(key)
        if call.deadline is not None and not gate.is_worth_it(call.deadline):
            rank = self._class_of(call)
            self._count(rank, "late")
            raise self._refusal(gate, rank, "deadline")
        if not gate.enter():
            await self._turn(gate, call)
        self._in_flight.value += 1
        started = self._clock()
        try:
            reply = await next(call)
        except BaseException as error:
            self._leave(gate, None, isinstance(error, GatewayError) and error.fault is Fault.BUSY)
            raise
        if call.exchange is None:
            self._leave(gate, self._clock() - started)
        else:
            call.exchange.at_end(lambda: self._leave(gate, None))
        return reply

    def _leave(self, gate: Gate, seconds: float | None, refused: bool = False) -> None:
        self._in_flight.value -= 1
        gate.leave(seconds, refused)

    async def _turn(self, gate: Gate, call: Call) -> None:
        """Wait for a permit. Raises `GatewayError` when there is none in time."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[End] = loop.create_future()

        def tell(end: End) -> bool:
            if turn.done():
                return False
            turn.set_result(end)
            return True

        waiting = self._waiting_of(gate, call, tell)
        self._begin(gate, waiting)
        timer = None
        try:
            if not turn.done():
                timer = loop.call_later(max(0.0, waiting.until - self._clock()), _expire, gate, waiting)
            end = await turn
        except asyncio.CancelledError:
            if waiting.ended is None:
                gate.forget(waiting)
            elif waiting.ended == "run" and not turn.cancelled():
                gate.leave(None)
            self._count(waiting.rank, "cancelled")
            raise
        finally:
            self._end(waiting)
            if timer is not None:
                timer.cancel()
        if end == "run" and not gate.is_worth_it(call.deadline):
            gate.leave(None)
            end = "late"
        self._count(waiting.rank, end)
        if end != "run":
            late = call.deadline is not None and self._clock() + gate.likely >= call.deadline
            raise self._refusal(gate, waiting.rank, "deadline" if late else end)

    def _waiting_of(self, gate: Gate, call: Call, tell: Callable[[End], bool]) -> Waiting:
        until = self._clock() + self._spec.queue.wait
        if call.deadline is not None:
            until = min(until, call.deadline - gate.likely)
        caller = call.caller
        return Waiting(
            caller.tenant or caller.principal, self._class_of(call), sum(map(len, call.message)), until, tell
        )

    def _begin(self, gate: Gate, waiting: Waiting) -> None:
        """Join the queue. Raises `GatewayError` when that is full."""
        full = self._waiting >= self._most_waiting or self._waiting_bytes >= self._most_bytes
        victims = None if full else gate.wait(waiting)
        if victims is None:
            self._count(waiting.rank, "full")
            raise self._refusal(gate, waiting.rank, "full")
        self._waiting += 1
        self._waiting_bytes += waiting.size
        self._waits[waiting.rank].value += 1
        for victim in victims:
            victim.settle("shed")

    def _end(self, waiting: Waiting) -> None:
        self._waiting -= 1
        self._waiting_bytes -= waiting.size
        self._waits[waiting.rank].value -= 1

    def _refusal(self, gate: Gate, rank: int, why: str) -> GatewayError:
        if why == "deadline":
            text = f"the deadline is too near for the queue of '{self._name}': the call was not begun"
            return GatewayError(Code.DEADLINE_EXCEEDED, text, fault=Fault.BUSY)
        wait = gate.retry_after(rank)
        what = _WHY[why]
        if self._own:
            text = f"too many of your calls run at once ('{self._name}'), and {what}"
            return over_limit(text, wait, [self._name])
        return no_room(f"too many calls run at once ('{self._name}'), and {what}", wait, [self._name])

    def _open(self, key: str) -> Gate:
        """The gate of a key that has none. Those that nobody uses go when there are many."""
        if len(self._gates) >= self._many:
            self._gates = {each: gate for each, gate in self._gates.items() if not gate.idle}
            self._many = max(MANY_GATES, 2 * len(self._gates))
        spec, siblings = self._spec, self._services.siblings
        gate = Gate(
            self._permits.hold(f"{self._name}:{key}"),
            FairQueue(len(self._classes), self._share(spec.queue.requests), self._share(spec.queue.bytes)),
            spec.limit.fixed or self._adaptive.max,
            None if spec.limit.adaptive is None else self._gradient(spec.limit.adaptive),
            siblings.bell,
            self._clock,
        )
        self._gates[key] = gate
        return gate

    @property
    def _adaptive(self) -> Adaptive:
        return self._spec.limit.adaptive or Adaptive()

    def _gradient(self, bounds: Adaptive) -> Gradient:
        first, least, most = (max(1, self._share(each)) for each in (bounds.initial, bounds.min, bounds.max))
        return Gradient(first, least, most, bounds.buffer, self._clock)

    def _share(self, amount: int) -> int:
        """This worker's part of something that a node has."""
        return -(-amount // self._workers)

    def _count(self, rank: int, end: str) -> None:
        counters = self._services.counters
        counters("penstock_concurrency_waits_total", (self._name, self._classes[rank], end)).value += 1


_WHY: Final = {
    "full": "so many wait already that there is no room for another",
    "shed": "more urgent ones took its place in the queue",
    "late": "its turn did not come in time",
}


def _expire(gate: Gate, waiting: Waiting) -> None:
    """A call that waited for too long."""
    if waiting.ended is None:
        gate.forget(waiting)
        waiting.settle("late")


def _classes(classes: tuple[Class, ...]) -> tuple[Callable[[Call], int], tuple[str, ...]]:
    """What finds the class of a call, and their names."""
    rest = next((rank for rank, each in enumerate(classes) if _names_nothing(each)), len(classes))
    names = tuple(each.name for each in classes) + (("default",) if rest == len(classes) else ())
    checks = [(rank, _check(each)) for rank, each in enumerate(classes) if not _names_nothing(each)]

    def class_of(call: Call) -> int:
        for rank, fits in checks:
            if fits(call):
                return rank
        return rest

    return class_of, names


def _names_nothing(each: Class) -> bool:
    return not (each.scope or each.principal or each.tenant or each.header)


def _check(each: Class) -> Callable[[Call], bool]:
    scopes = frozenset(each.scope)
    principals, tenants = (compile_patterns(names) if names else None for names in (each.principal, each.tenant))
    header = each.header.encode("latin-1") if each.header else b""
    values = frozenset(value.encode() for value in each.equals)

    def fits(call: Call) -> bool:
        caller = call.caller
        if scopes and not scopes & caller.scopes:
            return False
        if not _is_one_of(principals, caller.principal) or not _is_one_of(tenants, caller.tenant):
            return False
        if not header:
            return True
        value = call.view.headers.get(header) if call.view is not None else None
        return value is not None and (not values or value in values)

    return fits


def _is_one_of(patterns: Patterns | None, name: str) -> bool:
    """Whether a name fits, which nobody's does."""
    return patterns is None or (name != "" and patterns.matches(name))
