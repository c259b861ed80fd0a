"""ModelStreamInfer: a client's stream, joined to one stream at each endpoint that its requests need.

Each message names its model, so each is a call of its own, routed by itself and taken through the policies of its
route; a stream stays on the endpoint it already uses where that one serves the model, so that answers of models without
decoupled transactions keep the order of the requests. Every request asks for an empty final response, which tells when
it is done; it is dropped unless the client asked for it. Messages pass through unparsed.

Back-pressure: when an endpoint makes no room the client is not credited, and when the client makes no room the
endpoints are not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.ingress.aside import inflate_message
from gateway.ingress.generate import in_band
from gateway.ingress.grpc_choice import StreamChoices
from gateway.ingress.grpc_message import too_much_waits
from gateway.ingress.grpc_request import StreamRequest
from gateway.ingress.upstream import Upstream, Upstreams, unanswered
from routing.call import Call
from routing.connectors.grpc_h2 import deadline_exceeded
from transcoding.dialects import oip_grpc
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.snapshot import Route
    from gateway.worker import DataPlane

log = logging.getLogger(__name__)

WAITING_MESSAGES = 64
WAITING_BYTES = 256 * 1024
OUTSTANDING_REQUESTS = 10_000
UPSTREAM_QUEUE_BYTES = 256 * 1024
KEPT_BYTES = 1024 * 1024
"""Of a stream's requests without an answer so far, how much is kept to be sent once more."""


class InferSession:
    """One ModelStreamInfer call of a client. `upstreams` are its streams at endpoints; `deadline` is that of the whole
    call, in the loop's time."""

    def __init__(self, plane: DataPlane, head: Head, stream: GrpcStream) -> None:
        self.loop = plane.loop
        self.deadline = None if head.timeout is None else plane.loop.time() + head.timeout
        self._plane = plane
        self._stream = stream
        self._started = perf_counter()
        self._timer = None if self.deadline is None else plane.loop.call_at(self.deadline, self._expire)
        self._route: Route | None = None
        self._counted: Call | None = None  # the first request's, by whose variant the stream is counted
        metadata = plane.forwarding.of_head(head, stream.listener.config.forward_headers)
        self.upstreams = Upstreams(self, metadata, self.deadline)
        self._choices = StreamChoices(plane.guard, stream, head, metadata, self.deadline)
        self._queue: deque[tuple[Buffer, bool]] = deque()
        self._queued_bytes = 0
        self._inflated = 0  # of these, bytes that the message being forwarded grew to
        self._kept = 0  # bytes of requests that may be sent once more; they are counted in the listener's `buffered`
        self._requests: set[StreamRequest] = set()  # begun, and not over
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = False
        self._progress: asyncio.Future[None] | None = None
        self._unsent = 0  # bytes of responses that are counted in the listener's `buffered`
        self._half_closed = self._complete = self._closed = False
        stream.listener.requests_in_flight += 1
        stream.send_head()

    # from the client --------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Too much waits for the endpoints: hold the client back."""
        return (
            self._queued_bytes >= WAITING_BYTES
            or len(self._queue) >= WAITING_MESSAGES
            or len(self._requests) >= OUTSTANDING_REQUESTS
        )

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """One request; they are sent on in order. Raises `GatewayError` when too many bytes wait."""
        self._queue.append((message, compressed))
        self._count(len(message))
        if not self._sending:
            self._next()

    def half_closed(self) -> None:
        """No more requests: the endpoints are told once everything was sent on."""
        self._half_closed = True
        if not self._sending:
            self._next()

    def _next(self) -> None:
        """Begin the next request of the queue; those behind it wait until it was sent."""
        self._sending = bool(self._queue)
        if self._sending:
            task = self.loop.create_task(self._serve(*self._queue[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._half_closed:
            self._complete = True
            for upstream in self.upstreams.open:
                upstream.close()
            self._finish_if_done()

    def pass_on(self) -> None:
        """The first request of the queue was sent, or will not be: it is the next one's turn."""
        if self._closed:
            return
        self._count(-len(self._queue.popleft()[0]) - self._inflated)
        self._inflated = 0
        self._credit()
        self._next()

    async def _serve(self, message: Buffer, compressed: bool) -> None:
        try:
            if compressed:
                message = await self._inflate(message)
            await self._answer(oip_grpc.scan_request(message), message)
        except GatewayError as error:  # nothing that could be answered in the stream was read
            self._fail(error)
        except asyncio.CancelledError:
            pass  # the session is over
        except Exception:
            log.exception("forwarding a stream's request failed")
            self._fail(GatewayError(Code.INTERNAL, "internal error", fault=Fault.GATEWAY))

    async def _inflate(self, message: Buffer) -> Buffer:
        assert self._stream.head is not None
        message = await inflate_message(message, self._stream.head, self._stream.listener.limits.inflated_bytes)
        self._inflated = len(message)
        self._count(self._inflated)
        return message

    async def _client_reads(self) -> None:
        """Answers that cost no endpoint anything come no faster than the client takes them, and keep no loop."""
        await asyncio.sleep(0)
        while self._stream.congested and not self._closed:
            await self.wait()

    def _count(self, size: int) -> None:
        listener = self._stream.listener
        self._queued_bytes += size
        listener.buffered += size
        if size > 0 and listener.buffered > listener.limits.buffered_bytes:
            raise too_much_waits()

    def _credit(self) -> None:
        if not self.full:
            self._stream.credit()

    # each request -----------------------------------------------------------------------------------------------------

    async def _answer(self, envelope: oip_grpc.Envelope, message: Buffer) -> None:
        """Take one request through its chain: its answer has begun, or its error was told, when this returns."""
        request: StreamRequest | None = None
        try:
            model = envelope.model
            route = self._stream.listener.snapshot.find(model) or await self._choices.refuse(model)
            call = self._choices.call(route, envelope)
            if self._route is None:
                self._route, self._counted = route, call
                route.in_flight.value += 1
            request = StreamRequest(self, call, envelope.id, envelope.wants_empty_final)
            call.exchange = request
            self._requests.add(request)
            try:
                await self._choices.answer(route, envelope, message, request)
            finally:
                self._choices.add(call.told)
        except GatewayError as error:
            await self._refused(envelope.id, request, error)
        if request is None or not request.sent:
            self.pass_on()
        if request is not None:
            request.begun = True
            self._settle(request)

    async def _refused(self, id: str, request: StreamRequest | None, error: GatewayError) -> None:
        """Tell an error in band, as Triton does: the stream goes on, unless it was that of the endpoint's stream."""
        if request is not None and request.sent:
            self.left_limbo(request)
            if error is not request.failure:
                self._stream.send(oip_grpc.encode_stream_error(error.message, id))
            elif request.refusal is None:
                self._fail(error)
            elif not request.told:
                self._stream.send(request.refusal)
        elif error.code is Code.UNAUTHENTICATED:  # of the whole stream, by its metadata
            self._fail(error)
        else:
            while not id and self.upstreams.wait_elsewhere(None):
                await self.wait()
            self._stream.send(oip_grpc.encode_stream_error(error.message, id))
            await self._client_reads()
        if request is not None:
            request.over = True

    def _settle(self, request: StreamRequest) -> None:
        """Count a request off when it has been through its chain and its answer is over."""
        if request.begun and request.over and not self._closed:
            self._requests.discard(request)
            self.forget(request)
            request.end()
            self._credit()
            self.progress()
            self._finish_if_done()

    # for the requests -------------------------------------------------------------------------------------------------

    def was_sent(self, request: StreamRequest, upstream: Upstream) -> None:
        """Keep it until its answer begins, if there is room for that."""
        if not request.sent:
            self._choices.tell(request.choice)
            listener, size = self._stream.listener, sum(map(len, request.call.message))
            if self._kept + size <= KEPT_BYTES and listener.buffered + size <= listener.limits.buffered_bytes // 2:
                request.kept = size
                self._kept += size
                listener.buffered += size
            else:
                request.spent = True
                request.call.message = ()
        if self._complete:
            upstream.close()

    def forget(self, request: StreamRequest) -> None:
        """It will not be sent again."""
        self._kept -= request.kept
        self._stream.listener.buffered -= request.kept
        request.kept = 0
        request.call.message = ()

    async def room(self, upstream: Upstream, first: asyncio.Future[None]) -> None:
        """Wait until the endpoint has taken most of what it was sent."""
        attempt = upstream.attempt
        while attempt.queued > UPSTREAM_QUEUE_BYTES and not attempt.ended and not first.done():
            await self.wait()

    def left_limbo(self, request: StreamRequest) -> None:
        """It is sent once more, or it will not be."""
        if request.limbo:
            request.limbo = False
            self.upstreams.limbo -= 1
            self.progress()

    async def wait(self) -> None:
        """Wait for `progress`: for the one request whose turn it is to be sent."""
        self._progress = self.loop.create_future()
        await self._progress

    def progress(self) -> None:
        """An endpoint made room, answered, or went away."""
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    # from the endpoints -----------------------------------------------------------------------------------------------

    def response(self, upstream: Upstream, message: Buffer) -> None:
        """One response: pass it on, count it off when it is the last of its request."""
        try:
            envelope = oip_grpc.scan_stream_reply(message)
        except GatewayError as error:
            self._fail(error)
            return
        text, wanted = envelope.error_message, True
        request = upstream.of(envelope.id)
        if request is not None:
            final = envelope.final or bool(text and not envelope.model)
            if final and text and not request.answered:
                upstream.remove(request)
                self._lose(request, in_band(text), message, self.upstreams.alone(request))
                return
            request.heard()
            if final:
                upstream.remove(request)
                wanted = request.wants_final
                request.done(in_band(text) if text else None)
                request.over = True
                self._settle(request)
                self.progress()
        if wanted or not envelope.empty or text:
            self._stream.send(message)
        if self._stream.congested:
            self._pause(upstream)

    def _lose(self, request: StreamRequest, error: GatewayError, refusal: Buffer | None, alone: bool) -> None:
        """No answer came but this error, by the message `refusal` or because the stream ended. Its chain decides what
        is next; the client is told before it hears more when it will not be sent again, as no mistake of its own is."""
        if request.spent or not alone or error.fault is Fault.CLIENT:
            request.spent = True
            if refusal is not None:
                self._stream.send(refusal)
                request.told = True
        else:
            request.limbo = True
            self.upstreams.limbo += 1
        request.failed(error, refusal)
        self.progress()

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        """An endpoint ended its stream: with the client's, when it was asked to, or when requests are lost."""
        lost = upstream.clear()
        self.upstreams.open.remove(upstream)
        if error is None and lost and not upstream.closing:
            error = unanswered(upstream.endpoint.address)
        ids = Counter(request.id for request in lost)
        for request in lost:
            if error is None:
                request.heard()
            if request.answered:
                request.done(error)
                request.over = True
            elif error is not None:
                alone = len(lost) == 1 if request.ordered else ids[request.id] == 1
                self._lose(request, error, None, alone)
        if error is not None and any(request.answered for request in lost):
            self._fail(error)
            return
        for request in lost:
            self._settle(request)
        self.progress()
        self._credit()
        self._finish_if_done()

    def _pause(self, upstream: Upstream) -> None:
        """What a slow client leaves waiting counts among what the worker holds for clients."""
        upstream.attempt.pause()
        for request in self._requests:
            request.limits.paused(True)
        self._count_unsent()

    def _count_unsent(self) -> None:
        listener = self._stream.listener
        listener.buffered += self._stream.queued - self._unsent
        self._unsent = self._stream.queued
        if self._unsent and listener.buffered > listener.limits.buffered_bytes:
            self._fail(too_much_waits())

    def client_writable(self) -> None:
        """The client reads again, so the endpoints may send."""
        self.progress()
        self._count_unsent()
        for upstream in self.upstreams.open:
            upstream.attempt.resume()
        for request in self._requests:
            request.limits.paused(False)

    # end --------------------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        self._fail(deadline_exceeded())

    def expired(self, error: GatewayError) -> None:
        """The time of a request is over; as the endpoint goes on with it, the stream is too."""
        self._fail(error)

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """Cancel everything at the endpoints."""
        self._close(code)

    def _finish_if_done(self) -> None:
        if self._complete and not self._requests and not self.upstreams.open and not self._closed:
            self._stream.finish()
            self._close(Code.OK)

    def _fail(self, error: GatewayError) -> None:
        self._stream.fail(error)
        self._close(error.code)

    def _close(self, code: int) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        for upstream in self.upstreams.open:
            upstream.attempt.cancel()
        self.upstreams.open.clear()
        for request in self._requests:
            self.forget(request)
            request.end()
        self._requests.clear()
        self._stream.listener.buffered -= self._queued_bytes + self._unsent
        self._queue.clear()
        self._queued_bytes = self._unsent = 0
        self._stream.listener.requests_in_flight -= 1
        if self._route is not None and self._counted is not None:
            self._route.finish("inference", code, self._started, self._counted.variant)
