"""Gives an answer that was computed before to a request that asks the same, so that no GPU computes it twice.

Only for models that always answer the same to the same: by putting this policy on a route the operator says so of its
models, or of those that `models` names. Requests ask the same when model, version and load of the model, inputs (name,
datatype, shape, bytes), requested outputs and parameters are the same, over REST as JSON or binary as well as over
gRPC: one answer serves all. Callers share answers within their tenant, or principal, as `scope` says, and with nobody
else; whoever has no tenant is a tenant of his own. Never kept are errors, answers of stateful sequences, streams, or of
models whose version cannot be told, and tensors in shared memory.

Each worker keeps answers in its memory (`memory`), and where gateways share state there too, so that all workers and
nodes have them; a store that is away, slow or full is passed by. Requests that ask the same at the same time wait for
one answer, each no longer than its own deadline; if the one that asks on is cancelled, another takes its place. After
`ttl` an answer is given for `stale` longer, while a new one is fetched behind the scenes. A model that is loaded again,
anywhere in the pool, begins anew. A client may say `Cache-Control: no-cache`, `no-store`, `max-age=…` or
`only-if-cached` (gRPC: as metadata), unless `client_control` is off.

The answer says `penstock-cache: hit`, `stale`, `shared` (with a request under way), `miss` or `bypass`, and how old it
is in `age`. Put this behind the policies that say who calls and what he may: they hold for hits as well.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from config.fields import MIB, duration, flag, if_given, items, number, size, text
from config.match import Patterns, compile_patterns
from config.node import Node
from config.routes import Pattern
from policies import Count, Services
from routing.call import Call, Handler, Reply
from routing.connectors.grpc_h2 import deadline_exceeded
from routing.order import IDENTITY, Unsound
from routing.pool import Pool
from routing.questions import Scope, context, scope_of
from routing.reading import request_of
from routing.served import served
from state.answers import Answer, Answers, Question
from state.cache_ledger import Ledger, Line
from state.flight import LATE, LEAD, Flights
from state.lru import Lru
from state.shared_answers import Claim, SharedAnswers, Terms, Tools, new_answer
from transcoding.cache_control import NONE, Directives, parse
from transcoding.canonical import digest_message, digest_request, input_bytes
from transcoding.reply_id import with_id, without_id
from transcoding.status import Code, GatewayError

ASIDE: Final = 256 * 1024
"""Bytes from which a thread digests: the loop would stand still for longer than 0.3 ms."""
SPELLED: Final = 8192
"""Bytes of a message up to which it is looked up whether just these were seen before: then it need not be read."""
MOST_SPELLINGS: Final = 16_384
MOST_REFRESHES: Final = 16
REFRESH_SECONDS: Final = 30.0
PERSONAL: Final = frozenset(
    (Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.RESOURCE_EXHAUSTED)
)
"""Errors that are of one caller: of his patience, his rights, his limits. Who waits beside him is not told them."""
ORDER = (
    Unsound("before", "authorize", "it answers callers who may have no right to the answer"),
    Unsound("before", "rate_limit", "what it answers counts against no limit"),
    Unsound("after", "hedge", "the second of a pair waits for the first, as they ask the same; let hedge come later"),
    Unsound(
        "without",
        IDENTITY,
        "all callers are one and share their answers; if that is meant, say `scope: shared`",
        lambda options: options.get("scope", "tenant") != "shared",
    ),
)
CACHE, AGE, CONTROL = b"penstock-cache", b"age", b"cache-control"


class Spec(Node, frozen=True):
    """What is kept, for whom, and for how long."""

    ttl: Annotated[float, duration("How long an answer is given as it is")] = 60.0
    stale: Annotated[float, duration("How much longer it is given while a new one is fetched", 0.0)] = 0.0
    scope: Annotated[Scope, Meta(description="Who shares answers; `shared`: all callers")] = "tenant"
    models: Annotated[tuple[Pattern, ...], if_given("Names or globs of the models that it is for", True)] = ("*",)
    memory: Annotated[int, size("Bytes of answers that each worker keeps")] = 64 * MIB
    max_request: Annotated[int, size("A request with inputs of more bytes is passed by")] = 4 * MIB
    max_reply: Annotated[int, size("An answer of more bytes is not kept")] = MIB
    jitter: Annotated[float, number("The share of `ttl` by which it is less at random", 0.0, 0.5)] = 0.1
    shared_store: Annotated[bool, flag("Whether gateways share answers through their state")] = True
    store_timeout: Annotated[float, duration("How long the store may take to say what it has", 0.001, 1.0)] = 0.005
    lease: Annotated[float, duration("How long workers wait for one that asks the same; 0s: not", 0.0, 60.0)] = 5.0
    compress_from: Annotated[int, size("Answers of so many bytes are compressed in the store, if it helps")] = 4096
    vary: Annotated[
        tuple[Annotated[str, text("A header name", "header")], ...],
        items("Headers, or gRPC metadata, that change the answer since the model sees them"),
    ] = ()
    client_control: Annotated[bool, flag("Whether clients' `Cache-Control` is followed")] = True

    @property
    def needs_state(self) -> bool:
        """Whether it uses the store."""
        return self.shared_store


class Outcome(NamedTuple):
    """What whoever asked on got for all that wait: the answer, where it came from, and whether it was kept before."""

    answer: Answer
    variant: str
    version: str
    kept: bool


Flight = tuple[bytes, object, object]


class Policy:
    """What the places of this policy share: the answers, and who is asking for one. It is used through `at`."""

    needs_body = True
    needs_view = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self.spec = spec
        self.services = services
        self.patterns: Patterns | None = None if "*" in spec.models else compile_patterns(spec.models)
        self.vary = tuple(name.lower().encode() for name in spec.vary)
        self.answers = Answers(spec.memory, self._changed)
        self.flights: Flights[Flight, Outcome | GatewayError] = Flights()
        self.spellings: Lru[bytes, tuple[bytes, str]] = Lru(MOST_SPELLINGS)
        self.refreshing = 0
        self.terms = Terms(
            spec.ttl, spec.stale, spec.jitter, spec.max_reply, spec.compress_from, spec.store_timeout, spec.lease
        )
        state = services.state if spec.shared_store else None
        self.ledger = Ledger(state, services.clock, services.spawn, self.answers.purge)
        self.store = None if state is None else SharedAnswers(state, self.ledger, self.terms, self._tools())
        self._results: dict[tuple[str, str], Count] = {}

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Where the call goes is not known here, so neither is what it asks: it passes."""
        return await next(call)

    def at(self, pool: Pool) -> Place:
        """The policy in front of this pool."""
        return Place(self, pool)

    def count(self, route: str, result: str) -> None:
        """One more call that ended so."""
        cell = self._results.get((route, result))
        if cell is None:
            cell = self.services.counters("penstock_cache_requests_total", (route, result))
            self._results[route, result] = cell
        cell.value += 1

    def holds(self, question: Question) -> bool:
        """Is the model as it was when this was asked, and was nothing purged since?"""
        return question.line.mark is question.mark and self.ledger.mark is question.purges

    def _tools(self) -> Tools:
        services = self.services
        return Tools(services.clock, services.wall, services.rng, services.sleep, services.spawn, self._count_store)

    def _count_store(self, result: str) -> None:
        self.services.counters("penstock_cache_store_total", (result,)).value += 1

    def _changed(self, size: int, answers: int, evicted: int) -> None:
        self.services.gauges("penstock_cache_bytes").value += size
        self.services.gauges("penstock_cache_entries").value += answers
        if evicted:
            self.services.counters("penstock_cache_evictions_total").value += evicted


class Place:
    """The policy in front of one pool."""

    def __init__(self, policy: Policy, pool: Pool) -> None:
        self._policy = policy
        self._pool = pool
        self._clock = policy.services.clock
        self._known: dict[tuple[str, str], tuple[str, Line] | None] = {}
        self._generation = -1

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by what is kept, by what another call gets, or by `next`."""
        policy = self._policy
        control = NONE
        if policy.spec.client_control and call.view is not None and CONTROL in call.view.headers:
            control = parse(call.view.headers[CONTROL])
        question = None if control.no_store else self._question(call)
        if question is None:
            return await self._pass(call, next, control)
        if not question.key:
            assert call.infer is not None
            question.key = await asyncio.to_thread(digest_request, call.infer, self._context(call, question))
        if not control.no_cache:
            answer = policy.answers.get(question)
            if answer is not None:
                age = self._clock() - answer.asked
                if answer.serves(age, control.max_age):
                    if age >= answer.fresh:
                        self._refresh(call, next, question)
                    return self._kept(call, question, answer, age)
        return await self._ask(call, next, question, control)

    async def _pass(self, call: Call, next: Handler, control: Directives) -> Reply:
        if control.only_if_cached:
            raise not_cached()
        self._tell(call, b"bypass")
        return await next(call)

    def _kept(self, call: Call, question: Question, answer: Answer, age: float, counted: str = "") -> Reply:
        """The answer, for this call."""
        how = b"hit" if age < answer.fresh else b"stale"
        call.tell(CACHE, how)
        call.tell(AGE, b"%d" % age)
        self._policy.count(call.route, counted or how.decode())
        return Reply(with_id(answer.framed, question.id))

    def _tell(self, call: Call, how: bytes) -> None:
        call.tell(CACHE, how)
        self._policy.count(call.route, how.decode())

    # what is asked ----------------------------------------------------------------------------------------------------

    def _question(self, call: Call) -> Question | None:
        """What the call asks, None if nothing is kept of its kind. Its key is left out if that takes long."""
        policy = self._policy
        if call.sequence or call.method.kind != "infer":
            return None
        if policy.patterns is not None and not policy.patterns.matches(call.model):
            return None
        known = self._served(call.model, call.version)
        if known is None:
            return None
        scope = scope_of(policy.spec.scope, call.caller)
        question = Question(scope, call.model, *known, policy.ledger.mark)
        about = self._context(call, question)
        if sum(map(len, call.message)) > SPELLED:
            return self._read(call, question, about)
        spelling = digest_message(call.message, about)
        spelled = policy.spellings.get(spelling)
        if spelled is not None:
            question.key, question.id = spelled
            return question
        if self._read(call, question, about) is None:
            return None
        policy.spellings.put(spelling, (question.key, question.id), 1)
        return question

    def _read(self, call: Call, question: Question, about: bytes) -> Question | None:
        """The same with the key, unless that takes long, and the id, from the request as tensors."""
        infer = request_of(call)
        size = input_bytes(infer)
        if size < 0 or size > self._policy.spec.max_request:
            return None
        question.id = infer.id
        if size < ASIDE:
            question.key = digest_request(infer, about)
        return question

    def _context(self, call: Call, question: Question) -> bytes:
        vary = self._policy.vary
        if not vary:
            return context(question.scope, self._pool.name, question.model, question.version)
        headers = {} if call.view is None else call.view.headers
        seen = tuple(headers.get(name) for name in vary)
        return context(question.scope, self._pool.name, question.model, question.version, seen)

    def _served(self, model: str, version: str) -> tuple[str, Line] | None:
        """The version that answers, and the line of its answers."""
        if self._generation != self._pool.generation:
            self._known.clear()
            self._generation = self._pool.generation
        key = (model, version)
        if key not in self._known:
            found, line = served(self._pool, model, version), self._policy.ledger.line
            self._known[key] = found and (found.version, line(self._pool.name, model, *found))
        return self._known[key]

    # asking -----------------------------------------------------------------------------------------------------------

    async def _ask(self, call: Call, next: Handler, question: Question, control: Directives) -> Reply:
        """Ask on, or wait for who asks the same."""
        if control.only_if_cached:
            return await self._only_kept(call, question, control)
        if control.no_cache or control.max_age is not None:
            return (await self._get(call, next, question, None))[0]
        flights = self._policy.flights
        if not flights.lead(question.flight):
            outcome = await flights.wait(question.flight, call.deadline)
            if outcome is LATE:
                raise deadline_exceeded()
            if outcome is not LEAD:
                return self._share(call, question, outcome)
        return await self._lead(call, next, question)

    async def _only_kept(self, call: Call, question: Question, control: Directives) -> Reply:
        store = self._policy.store
        answer = None if store is None or control.no_cache else await store.find(question)
        if answer is None or not answer.serves(age := self._clock() - answer.asked, control.max_age):
            raise not_cached()
        return self._kept(call, question, answer, age)

    def _share(self, call: Call, question: Question, outcome: Outcome | GatewayError) -> Reply:
        if isinstance(outcome, GatewayError):
            raise outcome.again()
        if outcome.kept:
            return self._kept(call, question, outcome.answer, self._clock() - outcome.answer.asked)
        call.variant, call.version = outcome.variant, outcome.version
        self._tell(call, b"shared")
        return Reply(with_id(outcome.answer.framed, question.id))

    async def _lead(self, call: Call, next: Handler, question: Question, anew: bool = False) -> Reply:
        """Ask on for all that wait, whatever becomes of it; with `anew` what is in the store does not do."""
        flights, flight = self._policy.flights, question.flight
        try:
            reply, outcome = await self._find(call, next, question, anew)
        except GatewayError as error:
            if error.code in PERSONAL:
                flights.hand_over(flight)
            else:
                flights.land(flight, error)
            raise
        except BaseException:
            flights.hand_over(flight)
            raise
        if outcome is None:
            flights.hand_over(flight)
        else:
            flights.land(flight, outcome)
        return reply

    async def _find(self, call: Call, next: Handler, question: Question, anew: bool) -> tuple[Reply, Outcome | None]:
        policy = self._policy
        if policy.store is None:
            return await self._get(call, next, question, None)
        answer, claim = await policy.store.claim(question, call.deadline)
        if answer is not None:
            age = self._clock() - answer.asked
            if answer.serves(age) and not (anew and age >= answer.fresh):
                if policy.holds(question):
                    policy.answers.keep(answer)
                return self._kept(call, question, answer, age, "hit_store"), Outcome(
                    answer, call.variant, call.version, True
                )
        return await self._get(call, next, question, claim)

    async def _get(
        self, call: Call, next: Handler, question: Question, claim: Claim | None
    ) -> tuple[Reply, Outcome | None]:
        """Ask on, and keep the answer. None beside a reply that is of no use to others: it is no message, or so large
        that a copy is not worth it."""
        policy, variant, asked = self._policy, call.variant, self._clock()
        store = policy.store
        try:
            reply = await next(call)
            self._tell(call, b"miss")
            too_large = len(reply.framed) > policy.spec.max_reply
            kept = None if too_large and not policy.flights.waited(question.flight) else without_id(reply.payload)
            if kept is None:
                return reply, None
            answer = new_answer(question, kept.framed, asked, policy.terms, policy.services.rng)
            is_ours = kept.version == question.version and call.variant == variant and policy.holds(question)
            if is_ours and not too_large:
                policy.answers.keep(answer)
                if store is not None and claim is not None:
                    store.put(answer, claim)
                    claim = None
            return reply, Outcome(answer, call.variant, call.version, False)
        finally:
            if store is not None:
                store.release(claim)

    # stale answers ----------------------------------------------------------------------------------------------------

    def _refresh(self, call: Call, next: Handler, question: Question) -> None:
        """Get a new answer in the place of a stale one, behind the client's back, unless enough are being got."""
        policy = self._policy
        if policy.refreshing < MOST_REFRESHES and policy.flights.lead(question.flight):
            policy.refreshing += 1
            fresh = call.again()
            fresh.tried, fresh.told = (), None
            fresh.deadline = self._clock() + REFRESH_SECONDS
            policy.services.spawn(self._get_anew(fresh, next, question), "cache: refresh")

    async def _get_anew(self, call: Call, next: Handler, question: Question) -> None:
        result = "failed"
        try:
            await self._lead(call, next, question, anew=True)
            result = "ok"
        except GatewayError:
            pass  # the stale answer serves on, as long as it may
        finally:
            self._policy.refreshing -= 1
            self._policy.services.counters("penstock_cache_refreshes_total", (result,)).value += 1


def not_cached() -> GatewayError:
    """The answer to `only-if-cached` where there is none: 504, as RFC 9111 §5.2.1.7 says."""
    return GatewayError(Code.FAILED_PRECONDITION, "no answer to this is in the cache", http_status=504)
