"""One request of a client's stream, from its first byte to the last message of its answer.

It is the exchange of its call, so that the chain of policies goes around its beginning, and around that of each other
request: they may be of different models. Until a message of the answer has come the request is kept, and may be sent
once more, by itself: the requests beside it on a stream that failed are sent again by their own chains.

Sent again is only what nobody can take for another. A client that gives no ids tells answers by their order, and the
requests of a sequence have an order too, so these go a second time only if none went after them; until they are through
none does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from routing.call import Call
from routing.endpoint import Endpoint
from routing.limits import StreamLimits
from transcoding.message import Buffer
from transcoding.status import GatewayError

if TYPE_CHECKING:
    from gateway.ingress.upstream import Session, Upstream
    from routing.fleet import Lease
    from routing.pool import Pool
    from routing.table import Told


class StreamRequest:
    """One request of a session, with what to tell of its `choice`.

    `sent` says that it was sent once, so that those behind it may go; `limbo` that it may be sent once more; `answered`
    that a message of its answer came. `failure` is what came in place of one at the last endpoint, by the message
    `refusal`, which the client was `told`, or with the end of the stream. `begun` is set when the chain is through,
    `over` when the answer is. `kept` is the bytes of it that are counted as held.
    """

    __slots__ = ("_at_end", "_first", "_lease", "_pool", "_session", "answered", "begun", "call", "choice", "failure",
                 "id", "kept", "limbo", "limits", "over", "refusal", "sent", "spent", "told", "upstream",
                 "wants_final")  # fmt: skip

    def __init__(self, session: Session, call: Call, id: str, wants_final: bool, choice: Told) -> None:
        self.call = call
        self.id = id
        self.wants_final = wants_final
        self.choice = choice
        self.limits = StreamLimits(session.loop)
        self.spent = False
        self.sent = self.limbo = self.answered = self.told = self.begun = self.over = False
        self.refusal: Buffer | None = None
        self.failure: GatewayError | None = None
        self.kept = 0
        self.upstream: Upstream | None = None
        self._session = session
        self._pool: Pool | None = None
        self._lease: Lease | None = None
        self._first: asyncio.Future[None] | None = None
        self._at_end: list[Callable[[], None]] | None = None

    @property
    def ordered(self) -> bool:
        """Would it make a difference if another request came before it?"""
        return not self.id or bool(self.call.sequence)

    # routing.call.Exchange

    def at(self, pool: Pool, call: Call) -> Endpoint | None:
        """An endpoint that the client's stream uses already. A sequence's requests go to the endpoint that is theirs
        whichever way they come, and so do those with a key of their own."""
        if call.sequence or (call.hash_key and pool.hash_key is not None and pool.hash_key.varies):
            return None
        candidates = pool.candidates(call.model, call.version)
        if pool.health.out:
            candidates = pool.health.passable(candidates, call)
        for upstream in self._session.upstreams.open:
            endpoint = upstream.endpoint
            if not upstream.closing and endpoint in candidates and endpoint not in call.tried:
                return endpoint
        return None

    def at_end(self, done: Callable[[], None]) -> None:
        """Have `done` called when the answer is over."""
        if self._at_end is None:
            self._at_end = []
        self._at_end.append(done)

    async def ask(self, pool: Pool, call: Call, endpoint: Endpoint) -> None:
        """Send the request on the session's stream at this endpoint, and wait for the first message of its answer."""
        session = self._session
        upstream = await session.upstreams.at(endpoint)
        while not self.sent and session.upstreams.must_wait(self, upstream):
            await session.wait()
            upstream = await session.upstreams.at(endpoint)
        self._send(pool, call, upstream)
        first = self._first
        assert first is not None
        if not self.sent:
            await session.room(upstream, first)
            self.sent = True
            session.pass_on()
        await first

    def _send(self, pool: Pool, call: Call, upstream: Upstream) -> None:
        session = self._session
        session.left_limbo(self)
        self.refusal = self.failure = None
        self.upstream, self._pool = upstream, pool
        self._first = session.loop.create_future()
        self._lease = upstream.endpoint.take(call)
        upstream.add(self)
        own = None if call.deadline == session.deadline else call.deadline
        self.limits.begin(own, self._expire)
        upstream.attempt.send(call.message)
        if call.sequence:
            pool.sequences.succeeded(call)
        session.was_sent(self, upstream)

    # what became of it

    def heard(self) -> None:
        """A message of the answer came."""
        self.limits.heard()
        if not self.answered:
            self.answered = self.spent = True
            self._session.forget(self)
            if self._first is not None and not self._first.done():
                self._first.set_result(None)

    def failed(self, error: GatewayError, refusal: Buffer | None) -> None:
        """In place of an answer this came; it waits at no endpoint any more."""
        self.failure, self.refusal = error, refusal
        self._leave(False)
        self.limits.end()
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)

    def done(self, error: GatewayError | None) -> None:
        """The answer, which had begun, is complete, or cut off by this error."""
        upstream, pool = self.upstream, self._pool
        if upstream is not None and pool is not None:
            upstream.endpoint.outcomes["ok" if error is None else error.fault.name.lower()] += 1
            if error is not None:
                pool.judge(self.call, upstream.endpoint, error)
        self._leave(error is None)

    def _leave(self, ok: bool) -> None:
        if self._lease is not None:
            self._lease.release(ok=ok)
            self._lease = None

    def _expire(self, error: GatewayError) -> None:
        self.done(error)
        self._session.expired(error)

    def end(self) -> None:
        """It is over, whatever ended it."""
        self.over = True
        self.limits.end()
        self._leave(False)
        if self._first is not None and self._first.done() and not self._first.cancelled():
            self._first.exception()  # that nobody waits for it any more is no bug
        if self._at_end is not None:
            for done in self._at_end:
                done()
            self._at_end = None
        self.call.exchange = self.call.prepare = None  # nothing goes round in a circle
