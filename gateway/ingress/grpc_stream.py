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
from typing import TYPE_CHECKING

from routing.call import Call
from routing.connectors.streaming import StreamAttempt
from routing.endpoint import Endpoint
from transcoding.dialects import oip_grpc
from transcoding.dialects.oip_messages import message_class
from transcoding.grpc_framing import prefix
from transcoding.message import Buffer
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream
    from gateway.ingress.grpc_head import Head
    from gateway.snapshot import Route
    from gateway.worker import DataPlane

log = logging.getLogger(__name__)

METHOD = BY_NAME["ModelStreamInfer"]
WANT_FINAL = oip_grpc.append_bool_parameter("triton_enable_empty_final_response", True)
WAITING_MESSAGES = 64
WAITING_BYTES = 1024 * 1024
MESSAGES_PER_TURN = 32
OUTSTANDING_REQUESTS = 10_000
UPSTREAM_QUEUE_BYTES = 256 * 1024


class Upstream:
    """The session's stream at one endpoint."""

    __slots__ = ("_session", "attempt", "endpoint", "outstanding")

    def __init__(self, session: InferSession, endpoint: Endpoint) -> None:
        self._session = session
        self.endpoint = endpoint
        self.attempt: StreamAttempt | None = None
        self.outstanding = 0

    def message_received(self, message: Buffer) -> None:
        """A response of the endpoint."""
        self._session.response(self, message)

    def stream_ended(self, error: GatewayError | None) -> None:
        """The endpoint ended the stream."""
        self._session.upstream_ended(self, error)

    def upstream_writable(self) -> None:
        """The endpoint made room."""
        self._session.room()

    def release(self, requests: int) -> None:
        """Requests are done: they count no longer."""
        requests = min(requests, self.outstanding)
        self.outstanding -= requests
        self.endpoint.in_flight -= requests


class InferSession:
    """One ModelStreamInfer call of a client."""

    def __init__(self, plane: DataPlane, head: Head, stream: GrpcStream) -> None:
        self._plane = plane
        self._stream = stream
        self._timeout = head.timeout
        self._started = plane.loop.time()
        self._metadata = plane.forwarding.of_head(head, stream.listener.config.forward_headers)
        self._upstreams: dict[Endpoint, Upstream] = {}
        self._queue: deque[tuple[Buffer, bool]] = deque()
        self._queued_bytes = 0
        self._pump: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._client_room: asyncio.Future[None] | None = None
        self._wants_final: set[str] = set()
        self._half_closed = False
        self._route: Route | None = None
        self._timer = None if head.timeout is None else plane.loop.call_at(self._started + head.timeout, self._expire)
        stream.listener.requests_in_flight += 1
        stream.send_head()

    # from the client --------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Too much waits for the endpoints: hold the client back."""
        if len(self._queue) >= WAITING_MESSAGES or self._queued_bytes >= WAITING_BYTES:
            return True
        return any(each.outstanding >= OUTSTANDING_REQUESTS for each in self._all())

    def _all(self) -> list[Upstream]:
        return list(self._upstreams.values())

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """One request; they are sent on in order. Raises `GatewayError` when too many bytes wait."""
        self._queue.append((message, compressed))
        self._queued_bytes += len(message)
        self._stream.hold(len(message))
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
                for _ in range(min(MESSAGES_PER_TURN, len(self._queue))):
                    await self._forward_one(*self._queue.popleft())
                if self._queue:
                    await asyncio.sleep(0)  # messages that are refused at once must not keep the loop from others
            self._pump = None
            if self._half_closed:
                self._finish_requests()
        except asyncio.CancelledError:
            pass  # the session is over
        except Exception:
            log.exception("forwarding a stream's request failed")
            self._fail(GatewayError(Code.INTERNAL, "internal error", fault=Fault.GATEWAY))

    async def _forward_one(self, message: Buffer, compressed: bool) -> None:
        size = len(message)
        self._queued_bytes -= size
        if compressed:
            try:
                message = await self._stream.inflated(message)
            except GatewayError as error:
                self._fail(error)
                return
            size += len(message)
        try:
            await self._forward(message)
        except GatewayError as error:
            self._answer_error(message, error)
            await self._client_reads()
        self._stream.let_go(size)
        self._credit()

    async def _client_reads(self) -> None:
        while self._stream.congested and not self._stream.ended:
            self._client_room = self._plane.loop.create_future()
            await self._client_room

    def _credit(self) -> None:
        if not self.full:
            self._stream.credit()

    async def _forward(self, message: Buffer) -> None:
        envelope = oip_grpc.scan_request(message)
        route = self._plane.snapshot.dispatch(envelope.model)
        if self._route is None:
            self._route = route
            route.in_flight += 1
        if envelope.classified:
            await self._plane.guard.check_classified(route, envelope.model, envelope.version, envelope.classified)
        version = envelope.version or route.version
        parts: list[Buffer] = [message]
        if version != envelope.version:
            parts = oip_grpc.set_version(message, version)
        if envelope.wants_empty_final:
            self._wants_final.add(envelope.id)
        else:
            parts.append(WANT_FINAL)
        sequence = "" if envelope.sequence_id is None else str(envelope.sequence_id)
        upstream = await self._upstream_for(route, Call(METHOD, envelope.model, version, (), sequence=sequence))
        assert upstream.attempt is not None
        upstream.outstanding += 1
        upstream.endpoint.in_flight += 1
        upstream.attempt.send([prefix(sum(map(len, parts))), *parts])
        while upstream.attempt.queued > UPSTREAM_QUEUE_BYTES and not upstream.attempt.ended:
            self._room = self._plane.loop.create_future()
            await self._room

    async def _upstream_for(self, route: Route, call: Call) -> Upstream:
        candidates = route.pool.candidates(call.model, call.version)
        endpoint = next((each for each in self._upstreams if each in candidates), None) or route.pool.choose(call)
        upstream = self._upstreams.get(endpoint)
        if upstream is None:
            upstream = Upstream(self, endpoint)
            upstream.attempt = await endpoint.channel.stream(
                METHOD.path, upstream, metadata=self._metadata, deadline=self._deadline()
            )
            self._upstreams[endpoint] = upstream
        return upstream

    def _deadline(self) -> float | None:
        return None if self._timeout is None else self._started + self._timeout

    def _answer_error(self, message: Buffer, error: GatewayError) -> None:
        """In band, as Triton does: the stream goes on."""
        try:
            request_id = oip_grpc.scan_request(message).id
        except GatewayError:
            self._fail(error)
            return
        self._stream.send(
            message_class("ModelStreamInferResponse")(
                error_message=error.message, infer_response=message_class("ModelInferResponse")(id=request_id)
            ).SerializeToString()
        )

    def _finish_requests(self) -> None:
        for upstream in self._all():
            if upstream.attempt is not None:
                upstream.attempt.half_close()
        if not self._upstreams:
            self._finish()

    # from the endpoints -----------------------------------------------------------------------------------------------

    def response(self, upstream: Upstream, message: Buffer) -> None:
        """One response: pass it on, count it off when it is the last of its request."""
        envelope = oip_grpc.scan_stream_reply(message)
        if envelope.final or (envelope.error_message and not envelope.model):
            upstream.release(1)
        bare_end = envelope.final and envelope.empty and not envelope.error_message
        if bare_end and envelope.id not in self._wants_final:
            return
        self._stream.send(message)
        if self._stream.congested and upstream.attempt is not None:
            upstream.attempt.pause()

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        """An endpoint ended its stream: with the client's, when it was asked to, or when requests are lost."""
        lost = upstream.outstanding
        upstream.release(lost)
        self._upstreams.pop(upstream.endpoint, None)
        self.room()
        self._credit()
        if error is not None and (lost or self._half_closed):
            self._fail(error)
        elif self._half_closed and not self._upstreams and self._pump is None:
            self._finish()

    def room(self) -> None:
        """An endpoint made room, or went away."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def client_writable(self) -> None:
        """The client reads again, so the endpoints may send, and more of its requests be taken."""
        if self._client_room is not None and not self._client_room.done():
            self._client_room.set_result(None)
        for upstream in self._all():
            if upstream.attempt is not None:
                upstream.attempt.resume()

    # end --------------------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        self._fail(GatewayError(Code.DEADLINE_EXCEEDED, "deadline exceeded", fault=Fault.WORKER))

    def client_gone(self) -> None:
        """Cancel everything at the endpoints."""
        self._close(Code.CANCELLED)

    def _finish(self) -> None:
        self._stream.finish()
        self._close(Code.OK)

    def _fail(self, error: GatewayError) -> None:
        self._stream.fail(error)
        self._close(error.code)

    def _close(self, code: int) -> None:
        if self._started < 0:
            return
        started, self._started = self._started, -1.0
        if self._timer is not None:
            self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()
        for upstream in self._all():
            upstream.release(upstream.outstanding)
            if upstream.attempt is not None:
                upstream.attempt.cancel()
        self._upstreams.clear()
        self._stream.listener.requests_in_flight -= 1
        if self._route is not None:
            self._route.finish("inference", code, self._plane.loop.time() - started)
