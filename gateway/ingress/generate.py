"""Triton's generate extension: one JSON object in, one JSON object or a stream of server-sent events out.

A model that answers once is asked by ModelInfer, so its errors keep their code; a decoupled one by ModelStreamInfer,
where Triton tells an error's text only. Which it is, and what of the object is an input, says the model where the
request is sent, so all of that happens inside of the chain of policies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gateway.snapshot import code_of
from routing.call import Call, Reply
from routing.connectors.outcome import NOT_READY, QUEUE_REFUSALS, STOPPING, from_status, missing
from routing.connectors.streaming import StreamAttempt
from routing.limits import StreamLimits
from routing.table import NOTHING_TOLD, Told
from transcoding import sse
from transcoding.dialects import generate, oip_grpc
from transcoding.dialects.oip_json import encode_error
from transcoding.dialects.oip_paths import Match
from transcoding.grpc_framing import encode_message, prefix
from transcoding.message import Buffer, Content, InferRequest
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.snapshot import Route
    from gateway.worker import DataPlane
    from routing.endpoint import Endpoint
    from routing.fleet import Lease
    from routing.match import View
    from routing.pins import Resolved
    from routing.pool import Pool

MODEL_INFER = BY_NAME["ModelInfer"]
MODEL_STREAM_INFER = BY_NAME["ModelStreamInfer"]
EXACTLY_ONE = (
    "generate expects model to produce exactly 1 response, "
    "use generate stream for model that generates various number of responses"
)
HELD_RESPONSES = 16


class Generation:
    """One generate or generate_stream request: the exchange of its call. `start` it, then take `single` or `events`;
    whatever ends it, the work at the endpoint is cancelled and the request is counted once. `told` is what was chosen
    for it, and `call` has what policies tell."""

    def __init__(
        self, plane: DataPlane, route: Route, match: Match, body: Content, metadata: bytes, view: View
    ) -> None:
        self._plane = plane
        self._body = body
        self._view = view
        self._route = route
        self.told: Told = NOTHING_TOLD
        self.call = Call(MODEL_STREAM_INFER, match.model, match.version, (), metadata=metadata, route=route.name)
        self.call.exchange = self
        self.call.prepare = self._prepare
        if route.needs_view:
            self.call.view = view
        self._prepared: tuple[Pool, str, str] | None = None
        self._pool: Pool | None = None
        self._lease: Lease | None = None
        self._attempt: StreamAttempt | None = None
        self._first: bytes | None = None
        self._at_end: list[Callable[[], None]] = []
        self.limits = StreamLimits(plane.loop)
        self.spent = False
        self.answers = 0
        self._paused = False
        self._replies: deque[Buffer] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._error: GatewayError | None = None
        self._said: GatewayError | None = None
        self._started = perf_counter()
        self._route.in_flight.value += 1
        self._closed = False

    def _choose(self, call: Call) -> Resolved:
        """Where the request goes. The body is looked into for a sequence where that may make a difference."""
        route, body, view = self._route, self._body, self._view
        named = route.only is None or b"sequence_id" in (body if isinstance(body, bytes | bytearray) else bytes(body))
        parameters = generate.sequencing_of(body) if named else {}
        view.sequence = generate.sequence_of(parameters)
        view.principal = call.principal
        return route.resolve(view, call.version, parameters)

    async def start(self, limit: float | None) -> None:
        """Send the request, which may take `limit` seconds, and take its first response. Raises `GatewayError` when
        there is none."""
        route, call = self._route, self.call
        try:
            call.deadline = route.deadline(self._plane.loop, limit)
            if route.head is None:
                await self._proceed(call)
            else:
                call.proceed = self._proceed
                await route.head(call)
        except BaseException as error:
            self._close(error)
            raise
        finally:
            call.proceed = None

    async def _proceed(self, call: Call) -> Reply:
        """Choose, and hand on to the policies behind that. Raises `GatewayError`."""
        variant, call.model, call.version, self.told = self._choose(call)
        call.variant = variant.name
        try:
            return await variant.handler(call)
        finally:
            if call.variant != variant.name:
                self.told = variant.elsewhere(call)

    async def _prepare(self, pool: Pool, call: Call) -> None:
        """Write the message for this model, which says how it wants to be asked: once, or by a stream."""
        target = (pool, call.model, call.version)
        if target == self._prepared:
            return
        signature = await self._plane.signatures.get(pool, call.model, call.version, call.due)
        infer = generate.decode_request(self._body, call.model, call.version, signature)
        call.method = MODEL_INFER
        if signature.decoupled:
            call.method = MODEL_STREAM_INFER
            infer.parameters = {**(infer.parameters or {}), "triton_enable_empty_final_response": True}
        call.message = framed(oip_grpc.encode_request(infer))
        call.sequence = sequence_of(infer)
        if call.sequence:
            call.mark(infer.parameters or {})
        if (keyed := pool.hash_key) is not None:
            call.hash_key = keyed.of(self._view.headers, infer)
        self._prepared = target

    # routing.call.Exchange

    def at(self, pool: Pool, call: Call) -> Endpoint | None:
        """Wherever the pool says."""
        return None

    def at_end(self, done: Callable[[], None]) -> None:
        """Have `done` called when the generation is over."""
        self._at_end.append(done)

    async def ask(self, pool: Pool, call: Call, endpoint: Endpoint) -> None:
        """Send the request to the endpoint and take the first response, or the end."""
        self._replies.clear()
        self._attempt, self._ended, self._error = None, False, None
        decoupled = call.method is MODEL_STREAM_INFER
        if decoupled:
            self._attempt = await endpoint.channel.stream(
                call.method.path, self, metadata=call.metadata, deadline=call.deadline
            )
        lease = endpoint.take(call)
        try:
            if self._attempt is not None:
                self.limits.begin(call.deadline, self._expire)
                self._attempt.send(call.message, end=True)
            else:
                self._replies.append((await endpoint.channel.unary(call)).payload)
                self._ended = True
            self._first = await self._next()
        except BaseException:
            if self._attempt is not None:
                self._attempt.cancel()
            self.limits.end()
            lease.release()
            raise
        self._pool, self._lease, self.spent = pool, lease, True

    # from the endpoint

    def message_received(self, message: Buffer) -> None:
        """One response; the endpoint is stopped while too many wait."""
        self._replies.append(message)
        self.limits.heard()
        self._wake.set()
        if len(self._replies) >= HELD_RESPONSES and self._attempt is not None:
            self._paused = True
            self.limits.paused(True)
            self._attempt.pause()

    def stream_ended(self, error: GatewayError | None) -> None:
        """No more responses."""
        self._error = error
        self._ended = True
        self._wake.set()

    def upstream_writable(self) -> None:
        """The one request was sent at once."""

    def _expire(self, error: GatewayError) -> None:
        assert self._attempt is not None
        self._attempt.cancel()
        self.stream_ended(error)

    # to the client

    async def _next(self) -> bytes | None:
        """The JSON of the next response, None at the end. Raises `GatewayError` for an error, which need not be the
        end unless the stream's own."""
        while True:
            while self._replies:
                message = self._replies.popleft()
                if self._paused and not self._replies and self._attempt is not None:
                    self._paused = False
                    self.limits.paused(False)
                    self._attempt.resume()
                if (text := self._render(message)) is not None:
                    return text
            if self._ended:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return None
            self._wake.clear()
            await self._wake.wait()

    def _render(self, message: Buffer) -> bytes | None:
        if self._attempt is None:
            self.answers += 1
            return generate.encode_reply(oip_grpc.decode_reply(message))
        envelope = oip_grpc.scan_stream_reply(message)
        if envelope.error_message:
            raise in_band(envelope.error_message)
        if envelope.final and envelope.empty:
            return None
        reply = oip_grpc.decode_stream_reply(message)[1]
        assert reply is not None
        self.answers += 1
        return generate.encode_reply(reply)

    async def single(self) -> bytes:
        """The one response of `generate`. Raises `GatewayError` when there is none, or more than one."""
        try:
            first = self._first
            second = await self._next() if first is not None else None
            if first is None or second is not None:
                raise GatewayError(Code.INVALID_ARGUMENT, EXACTLY_ONE, executed=True)
        except BaseException as error:
            self._close(error)
            raise
        self._close(None)
        return first

    async def events(self) -> Events:
        """The events of `generate_stream`. An error before the first one was raised by `start`, a later one is an
        event."""
        first = self._first
        return Events(self, None if first is None else sse.event(first))

    async def event(self) -> bytes | None:
        """A further event, None at the end."""
        try:
            text = await self._next()
        except GatewayError as error:
            self._said = error
            return sse.event(encode_error(error.message))
        except BaseException as ending:
            self._close(ending)
            raise
        if text is None:
            self._close(self._said)
            return None
        return sse.event(text)

    def abandon(self) -> None:
        """Nobody takes what is left."""
        self._close(self._said if self._ended and not self._replies else asyncio.CancelledError())

    def _close(self, error: BaseException | None) -> None:
        if self._closed:
            return
        self._closed = True
        self.limits.end()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._lease is not None:
            self._release(self._lease, error)
        code = Code.OK if error is None else code_of(error)
        self._route.finish("inference", code, self._started, self.call.variant)
        for done in self._at_end:
            done()
        self.call.exchange = self.call.prepare = None  # nothing goes round in a circle

    def _release(self, lease: Lease, error: BaseException | None) -> None:
        """How the answer ended, which had begun well. The client's leaving says nothing of the endpoint."""
        self._lease = None
        lease.release(ok=error is None)
        endpoint = lease.endpoint
        if error is None or isinstance(error, GatewayError):
            endpoint.outcomes["ok" if error is None else error.fault.name.lower()] += 1
        if isinstance(error, GatewayError):
            assert self._pool is not None
            self._pool.judge(self.call, endpoint, error)


class Events(AsyncGenerator[bytes, None]):
    """The events of a generation. Unlike a generator made by `yield`, closing it before its first event ends the
    generation too; so does dropping it."""

    def __init__(self, generation: Generation, first: bytes | None) -> None:
        self._generation = generation
        self._first = first

    async def asend(self, value: None) -> bytes:
        """The next event."""
        event, self._first = self._first, None
        if event is None:
            event = await self._generation.event()
        if event is None:
            raise StopAsyncIteration
        return event

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> bytes:
        """End the generation and raise."""
        self._generation.abandon()
        raise typ if val is None else val

    async def aclose(self) -> None:
        """End the generation."""
        self._generation.abandon()

    def __del__(self) -> None:
        self._generation.abandon()


def in_band(message: str) -> GatewayError:
    """An error that a stream told by its text only: the queue's or the model's when it says so, else the client's."""
    if message.endswith((*QUEUE_REFUSALS, NOT_READY, STOPPING)):
        return from_status(Code.UNAVAILABLE, message)
    if missing(message):
        return from_status(Code.NOT_FOUND, message)
    if message.startswith("Failed to process the request(s)"):
        return GatewayError(Code.INTERNAL, message, fault=Fault.MODEL, executed=True)
    return GatewayError(Code.INVALID_ARGUMENT, message, executed=True)


def framed(parts: list[Buffer]) -> tuple[Buffer, ...]:
    """A gRPC message: the prefix and the parts, joined when there is only one small part."""
    if len(parts) == 1:
        return (encode_message(parts),)
    return (prefix(sum(map(len, parts))), *parts)


def sequence_of(infer: InferRequest) -> str:
    """The id of the sequence that a request belongs to, "" for none."""
    parameters = infer.parameters
    if not parameters:
        return ""
    sequence = parameters.get("sequence_id")
    return str(sequence) if sequence else ""
