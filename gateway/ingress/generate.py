"""Triton's generate extension: one JSON object in, one JSON object or a stream of server-sent events out.

A model that answers once is asked by ModelInfer, so its errors keep their code; a decoupled one by ModelStreamInfer,
where Triton tells an error's text only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gateway.snapshot import code_of
from routing.call import Call
from routing.connectors.grpc_h2 import deadline_exceeded
from routing.connectors.outcome import NOT_READY, QUEUE_REFUSALS, STOPPING, from_status, missing
from routing.connectors.streaming import StreamAttempt
from routing.pool import MAX_ATTEMPTS
from transcoding import sse
from transcoding.dialects import generate, oip_grpc
from transcoding.dialects.oip_json import encode_error
from transcoding.dialects.oip_paths import Match
from transcoding.grpc_framing import encode_message, prefix
from transcoding.message import Buffer, Content, InferRequest
from transcoding.methods import BY_NAME, Method
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.snapshot import Route
    from gateway.worker import DataPlane
    from routing.fleet import Lease
    from routing.match import View
    from routing.table import Variant

MODEL_INFER = BY_NAME["ModelInfer"]
MODEL_STREAM_INFER = BY_NAME["ModelStreamInfer"]
EXACTLY_ONE = (
    "generate expects model to produce exactly 1 response, "
    "use generate stream for model that generates various number of responses"
)
HELD_RESPONSES = 16


class Generation:
    """One generate or generate_stream request. `start` it, then take `single` or `events`; whatever ends it, the work
    at the endpoint is cancelled and the request is counted once. `told` is what was chosen for it."""

    def __init__(self, plane: DataPlane, match: Match, body: Content, metadata: bytes, view: View) -> None:
        self._plane = plane
        self._body = body
        self._metadata = metadata
        self._headers = view.headers
        self._route: Route = plane.snapshot.dispatch(match.model)
        self._variant: Variant = self._route.only or self._choose(view)
        self._model, self._version, self.told = self._variant.resolve(match.model, match.version)
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lease: Lease | None = None
        self._attempt: StreamAttempt | None = None
        self._streamed: Call | None = None
        self._paused = False
        self._replies: deque[Buffer] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._error: GatewayError | None = None
        self._told: GatewayError | None = None
        self._started = perf_counter()
        self._route.in_flight.value += 1
        self._closed = False

    def _choose(self, view: View) -> Variant:
        view.sequence = generate.sequence_of(self._body)
        return self._route.choose(view)

    async def start(self, limit: float | None) -> None:
        """Send the request, which may take `limit` seconds. Raises `GatewayError` for one that cannot be sent."""
        plane, variant = self._plane, self._variant
        try:
            self._deadline = self._route.deadline(plane.loop, limit)
            signature = await plane.signatures.get(variant.pool, self._model, self._version, self._deadline)
            infer = generate.decode_request(self._body, self._model, self._version, signature)
            if signature.decoupled:
                await self._open(infer)
            else:
                self._replies.append((await variant.handler(self._call(MODEL_INFER, infer))).payload)
                self._ended = True
        except BaseException as error:
            self._close(error)
            raise

    def _call(self, method: Method, infer: InferRequest) -> Call:
        call = Call(
            method,
            infer.model,
            self._version,
            framed(oip_grpc.encode_request(infer)),
            metadata=self._metadata,
            deadline=self._deadline,
            sequence=sequence_of(infer),
            route=self._route.name,
            variant=self._variant.name,
        )
        if call.sequence:
            call.mark(infer.parameters or {})
        if (keyed := self._variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._headers, infer)
        return call

    async def _open(self, infer: InferRequest) -> None:
        infer.parameters = {**(infer.parameters or {}), "triton_enable_empty_final_response": True}
        self._streamed = self._call(MODEL_STREAM_INFER, infer)
        await self._send(self._streamed)
        if self._deadline is not None:
            self._timer = self._plane.loop.call_at(self._deadline, self._expire)

    async def _send(self, call: Call) -> None:
        endpoint, self._attempt = await self._variant.pool.stream(call, self)
        self._lease = endpoint.take(call)
        self._attempt.send(call.message, end=True)

    # from the endpoint

    def message_received(self, message: Buffer) -> None:
        """One response; the endpoint is stopped while too many wait."""
        self._replies.append(message)
        self._wake.set()
        if len(self._replies) >= HELD_RESPONSES and self._attempt is not None:
            self._paused = True
            self._attempt.pause()

    def stream_ended(self, error: GatewayError | None) -> None:
        """No more responses."""
        self._error = error
        self._ended = True
        self._wake.set()

    def upstream_writable(self) -> None:
        """The one request was sent at once."""

    def _expire(self) -> None:
        assert self._attempt is not None
        self._attempt.cancel()
        self.stream_ended(deadline_exceeded())

    # to the client

    async def _first(self) -> bytes | None:
        """The first response. An endpoint that says first that it did not execute the request loses it to another."""
        attempts = 0
        while True:
            attempts += 1
            call, lease = self._streamed, self._lease
            try:
                first = await self._next()
            except GatewayError as error:
                if call is None or lease is None or attempts >= MAX_ATTEMPTS:
                    raise
                if not self._variant.pool.may_send_again(call, lease.endpoint, error):
                    raise
                self._leave(lease, error)
                await self._send(call)
            else:
                if call is not None and lease is not None:
                    self._variant.pool.judge(call, lease.endpoint, None)
                return first

    def _leave(self, lease: Lease, error: GatewayError) -> None:
        assert self._attempt is not None
        self._attempt.cancel()
        self._release(lease, error)
        self._replies.clear()
        self._ended, self._error = False, None

    def _release(self, lease: Lease, error: BaseException | None) -> None:
        self._lease = None
        lease.release(ok=error is None)
        call, pool, endpoint = self._streamed, self._variant.pool, lease.endpoint
        assert call is not None
        if error is None or isinstance(error, GatewayError):
            endpoint.outcomes["ok" if error is None else error.fault.name.lower()] += 1
            pool.judge(call, endpoint, error)
        pool.left(call, endpoint)

    async def _next(self) -> bytes | None:
        """The JSON of the next response, None at the end. Raises `GatewayError` for an error, which need not be the
        end unless the stream's own."""
        while True:
            while self._replies:
                message = self._replies.popleft()
                if self._paused and not self._replies and self._attempt is not None:
                    self._paused = False
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
            return generate.encode_reply(oip_grpc.decode_reply(message))
        envelope = oip_grpc.scan_stream_reply(message)
        if envelope.error_message:
            raise in_band(envelope.error_message)
        if envelope.final and envelope.empty:
            return None
        reply = oip_grpc.decode_stream_reply(message)[1]
        assert reply is not None
        return generate.encode_reply(reply)

    async def single(self) -> bytes:
        """The one response of `generate`. Raises `GatewayError` when there is none, or more than one."""
        try:
            first = await self._first()
            second = await self._next() if first is not None else None
            if first is None or second is not None:
                raise GatewayError(Code.INVALID_ARGUMENT, EXACTLY_ONE, executed=True)
        except BaseException as error:
            self._close(error)
            raise
        self._close(None)
        return first

    async def events(self) -> Events:
        """The events of `generate_stream`. An error before the first one is raised here, a later one is an event."""
        try:
            first = await self._first()
        except BaseException as error:
            self._close(error)
            raise
        return Events(self, None if first is None else sse.event(first))

    async def event(self) -> bytes | None:
        """A further event, None at the end."""
        try:
            text = await self._next()
        except GatewayError as error:
            self._told = error
            return sse.event(encode_error(error.message))
        except BaseException as ending:
            self._close(ending)
            raise
        if text is None:
            self._close(self._told)
            return None
        return sse.event(text)

    def abandon(self) -> None:
        """Nobody takes what is left."""
        self._close(self._told if self._ended and not self._replies else asyncio.CancelledError())

    def _close(self, error: BaseException | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._lease is not None:
            self._release(self._lease, error)
        code = Code.OK if error is None else code_of(error)
        self._route.finish("inference", code, self._started, self._variant.name)


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
