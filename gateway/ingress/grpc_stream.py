"""ModelStreamInfer: a client's stream, joined to one stream at each endpoint that its requests need.

Each message names its model, so each is routed by itself; a stream stays on the endpoint it already uses where that
one serves the model, so that answers of models without decoupled transactions keep the order of the requests. Every
request asks for an empty final response, which tells when it is done; it is dropped unless the client asked for it.
Messages pass through unparsed.

Back-pressure: when an endpoint makes no room the client is not credited, and when the client makes no room the
endpoints are not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.ingress.aside import inflate_message
from gateway.ingress.generate import in_band
from gateway.ingress.grpc_choice import StreamChoices
from gateway.ingress.grpc_message import sequence_of, too_much_waits
from gateway.ingress.upstream import Upstream
from routing.call import Call
from routing.connectors.grpc_h2 import deadline_exceeded
from routing.endpoint import Endpoint
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix
from transcoding.message import Buffer
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.snapshot import Route
    from gateway.worker import DataPlane
    from routing.pool import Pool
    from routing.table import Variant

log = logging.getLogger(__name__)

METHOD = BY_NAME["ModelStreamInfer"]
WANT_FINAL = oip_grpc.append_bool_parameter("triton_enable_empty_final_response", True)
WAITING_MESSAGES = 64
WAITING_BYTES = 256 * 1024
OUTSTANDING_REQUESTS = 10_000
UPSTREAM_QUEUE_BYTES = 256 * 1024


class InferSession:
    """One ModelStreamInfer call of a client."""

    def __init__(self, plane: DataPlane, head: Head, stream: GrpcStream) -> None:
        self._plane = plane
        self._stream = stream
        self._head = head
        self._started = perf_counter()
        self._deadline = None if head.timeout is None else plane.loop.time() + head.timeout
        self._timer = None if self._deadline is None else plane.loop.call_at(self._deadline, self._expire)
        self._metadata = plane.forwarding.of_head(head, stream.listener.config.forward_headers)
        self._route: Route | None = None
        self._variant = ""  # of the first request, by which the stream is counted
        self._choices = StreamChoices(stream, head)
        self._upstreams: dict[Endpoint, Upstream] = {}
        self._queue: deque[tuple[Buffer, bool]] = deque()
        self._queued_bytes = 0
        self._inflated = 0  # of these, bytes that the message being forwarded grew to
        self._outstanding = 0
        self._pump: asyncio.Task[None] | None = None
        self._progress: asyncio.Future[None] | None = None
        self._wants_final: dict[str, deque[bool]] = {}
        self._unsent = 0  # bytes of responses that are counted in the listener's `buffered`
        self._half_closed = self._closed = False
        stream.listener.requests_in_flight += 1
        stream.send_head()

    # from the client --------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Too much waits for the endpoints: hold the client back."""
        return (
            self._queued_bytes >= WAITING_BYTES
            or len(self._queue) >= WAITING_MESSAGES
            or self._outstanding >= OUTSTANDING_REQUESTS
        )

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """One request; they are sent on in order. Raises `GatewayError` when too many bytes wait."""
        self._queue.append((message, compressed))
        self._count(len(message))
        if self._pump is None:
            self._pump = self._plane.loop.create_task(self._forward_queued())

    def half_closed(self) -> None:
        """No more requests: the endpoints are told once everything was sent on."""
        self._half_closed = True
        if self._pump is None:
            self._finish_requests()

    async def _forward_queued(self) -> None:
        try:
            while self._queue:
                await self._forward_next(*self._queue[0])
                if self._closed:
                    return
                self._dequeue()
                self._credit()
            self._pump = None
            if self._half_closed:
                self._finish_requests()
        except asyncio.CancelledError:
            pass  # the session is over
        except Exception:
            log.exception("forwarding a stream's request failed")
            self._fail(GatewayError(Code.INTERNAL, "internal error", fault=Fault.GATEWAY))

    async def _forward_next(self, message: Buffer, compressed: bool) -> None:
        if compressed:
            try:
                message = await self._inflate(message)
            except GatewayError as error:  # nothing that could be answered in the stream was read
                self._fail(error)
                return
        try:
            await self._forward(message)
        except GatewayError as error:
            await self._answer_error(message, error)
            await self._client_reads()

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
            await self._wait()

    def _dequeue(self) -> None:
        self._count(-len(self._queue.popleft()[0]) - self._inflated)
        self._inflated = 0

    def _count(self, size: int) -> None:
        listener = self._stream.listener
        self._queued_bytes += size
        listener.buffered += size
        if size > 0 and listener.buffered > listener.limits.buffered_bytes:
            raise too_much_waits()

    def _credit(self) -> None:
        if not self.full:
            self._stream.credit()

    async def _forward(self, message: Buffer) -> None:
        envelope = oip_grpc.scan_request(message)
        route = self._plane.snapshot.dispatch(envelope.model)
        variant = self._choices.variant(route, envelope)
        if self._route is None:
            self._route, self._variant = route, variant.name
            route.in_flight.value += 1
        call = self._call(variant, envelope)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._head.metadata, message)
        if envelope.classified:
            await self._plane.guard.check_classified(
                variant.pool, call.model, call.version, envelope.classified, self._deadline
            )
        parts: list[Buffer] = [message]
        if call.version != envelope.version or call.model != envelope.model:
            parts = oip_grpc.set_target(message, variant.model, call.version)
        if not envelope.wants_empty_final:
            parts.append(WANT_FINAL)
        upstream = await self._upstream_for(variant.pool, call)
        while not envelope.id and self._waits_elsewhere(upstream):
            await self._wait()
            upstream = await self._upstream_for(variant.pool, call)
        self._wants_final.setdefault(envelope.id, deque()).append(envelope.wants_empty_final)
        self._outstanding += 1
        upstream.send(call, [prefix(sum(map(len, parts))), *parts])
        if call.sequence:
            variant.pool.sequences.succeeded(call)
        while upstream.attempt.queued > UPSTREAM_QUEUE_BYTES and not upstream.attempt.ended:
            await self._wait()

    def _call(self, variant: Variant, envelope: oip_grpc.Envelope) -> Call:
        """The call for one request, which goes to `variant`. Raises `GatewayError`."""
        model, version = self._choices.resolve(variant, envelope)
        return Call(
            METHOD,
            model,
            version,
            (),
            metadata=self._metadata,
            deadline=self._deadline,
            sequence=sequence_of(envelope),
            route=variant.route,
            variant=variant.name,
        ).mark(envelope.parameters)

    async def _upstream_for(self, pool: Pool, call: Call) -> Upstream:
        """The endpoint in use that serves the model, else the pool's choice. A sequence's requests go to the endpoint
        that is theirs whichever way they come, and so do those with a key of their own."""
        upstreams = self._upstreams
        if call.sequence or (call.hash_key and pool.hash_key is not None and pool.hash_key.varies):
            known = upstreams.get(pool.choose(call))
        else:
            candidates = pool.candidates(call.model, call.version)
            known = next((each for endpoint, each in upstreams.items() if endpoint in candidates), None)
        if known is not None:
            return known
        upstream = Upstream(self, pool, call)
        endpoint, upstream.attempt = await pool.stream(call, upstream)
        if endpoint in upstreams:  # the pool's choice changed while it was opened
            upstream.attempt.cancel()
            pool.left(call, endpoint)
            return upstreams[endpoint]
        upstream.endpoint = endpoint
        upstreams[endpoint] = upstream
        return upstream

    def _waits_elsewhere(self, upstream: Upstream | None) -> bool:
        """Are there answers to come from other endpoints? A client that gives no ids tells answers by their order,
        which holds on one endpoint only."""
        return any(each.outstanding for each in self._upstreams.values() if each is not upstream)

    async def _wait(self) -> None:
        self._progress = self._plane.loop.create_future()
        await self._progress

    def progress(self) -> None:
        """An endpoint made room, answered, or went away."""
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    async def _answer_error(self, message: Buffer, error: GatewayError) -> None:
        """In band, as Triton does: the stream goes on, unless the message is no request at all."""
        try:
            request_id = oip_grpc.scan_request(message).id
        except GatewayError:
            self._fail(error)
            return
        while not request_id and self._waits_elsewhere(None):
            await self._wait()
        self._stream.send(oip_grpc.encode_stream_error(error.message, request_id))

    def _finish_requests(self) -> None:
        for upstream in self._upstreams.values():
            upstream.attempt.half_close()
        if not self._upstreams:
            self._finish()

    # from the endpoints -----------------------------------------------------------------------------------------------

    def response(self, upstream: Upstream, message: Buffer) -> None:
        """One response: pass it on, count it off when it is the last of its request."""
        try:
            envelope = oip_grpc.scan_stream_reply(message)
        except GatewayError as error:
            self._fail(error)
            return
        wanted = True
        if envelope.final or (envelope.error_message and not envelope.model):
            wanted = self._request_done(upstream, envelope)
        if wanted or not envelope.empty or envelope.error_message:
            self._stream.send(message)
        if self._stream.congested:
            upstream.attempt.pause()
            self._count_unsent()

    def _request_done(self, upstream: Upstream, envelope: oip_grpc.StreamEnvelope) -> bool:
        """Count a request off. True if its client wants to be told even by an empty response: the first one with that
        id, should there be several."""
        waiting = self._wants_final.get(envelope.id)
        wanted = waiting is not None and waiting.popleft()
        if not waiting:
            self._wants_final.pop(envelope.id, None)
        if upstream.outstanding:
            self._outstanding -= 1
            upstream.judge(in_band(envelope.error_message) if envelope.error_message else None)
            upstream.release(1, "model" if envelope.error_message else "ok")
        self._credit()
        self.progress()
        return wanted

    def _count_unsent(self) -> None:
        """What a slow client leaves waiting counts among what the worker holds for clients."""
        listener = self._stream.listener
        listener.buffered += self._stream.queued - self._unsent
        self._unsent = self._stream.queued
        if self._unsent and listener.buffered > listener.limits.buffered_bytes:
            self._fail(too_much_waits())

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        """An endpoint ended its stream: with the client's, when it was asked to, or when requests are lost."""
        lost = upstream.outstanding
        self._outstanding -= lost
        if lost and error is not None:
            upstream.judge(error)
        upstream.pool.left(upstream.opener, upstream.endpoint)
        upstream.release(lost, "ok" if error is None else error.fault.name.lower())
        del self._upstreams[upstream.endpoint]
        self.progress()
        if lost and (error is not None or not self._half_closed):
            self._fail(error or unanswered(upstream.endpoint))
        elif self._half_closed and not self._upstreams and self._pump is None:
            self._finish()
        else:
            self._credit()

    def client_writable(self) -> None:
        """The client reads again, so the endpoints may send."""
        self.progress()
        self._count_unsent()
        for upstream in self._upstreams.values():
            upstream.attempt.resume()

    # end --------------------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        self._fail(deadline_exceeded())

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """Cancel everything at the endpoints."""
        self._close(code)

    def _finish(self) -> None:
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
        if self._pump is not None:
            self._pump.cancel()
        for upstream in self._upstreams.values():
            upstream.release(upstream.outstanding, None)
            upstream.pool.left(upstream.opener, upstream.endpoint)
            upstream.attempt.cancel()
        self._upstreams.clear()
        self._stream.listener.buffered -= self._queued_bytes + self._unsent
        self._queue.clear()
        self._queued_bytes = self._unsent = 0
        self._stream.listener.requests_in_flight -= 1
        if self._route is not None:
            self._route.finish("inference", code, self._started, self._variant)


def unanswered(endpoint: Endpoint) -> GatewayError:
    """The endpoint ended the stream well, but not the requests on it."""
    text = f"endpoint {endpoint.address} ended its stream before it answered all requests"
    return GatewayError(Code.UNAVAILABLE, text, fault=Fault.WORKER, executed=True)
