"""Triton's generate extension: one JSON object in, one JSON object or a stream of server-sent events out.

A model that answers once is asked by ModelInfer, so its errors keep their code; a decoupled one by ModelStreamInfer,
where Triton tells an error's text only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from routing.call import Call
from routing.connectors.grpc_h2 import deadline_exceeded
from routing.connectors.streaming import StreamAttempt
from transcoding import sse
from transcoding.dialects import generate, oip_grpc
from transcoding.dialects.oip_json import encode_error
from transcoding.dialects.oip_paths import Match
from transcoding.message import Buffer, InferRequest
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.worker import DataPlane
    from routing.endpoint import Endpoint

MODEL_INFER = BY_NAME["ModelInfer"]
MODEL_STREAM_INFER = BY_NAME["ModelStreamInfer"]
EXACTLY_ONE = (
    "generate expects model to produce exactly 1 response, "
    "use generate stream for model that generates various number of responses"
)
HELD_RESPONSES = 16


class Generation:
    """One generate or generate_stream request."""

    def __init__(self, plane: DataPlane, match: Match, body: bytes) -> None:
        self._plane = plane
        self._match = match
        self._body = body
        self._replies: deque[Buffer] = deque()
        self._wake: asyncio.Event = asyncio.Event()
        self._attempt: StreamAttempt | None = None
        self._endpoint: Endpoint | None = None
        self._done = False
        self._error: GatewayError | None = None
        self._deadline: float | None = None
        self.metadata = b""

    async def start(self, limit: float | None) -> None:
        """Send the request. Raises `GatewayError` for a request that cannot be sent."""
        plane, match = self._plane, self._match
        self._route = route = plane.snapshot.dispatch(match.model)
        route.in_flight += 1
        self._started = plane.loop.time()
        self._code = 0
        try:
            version = match.version or route.version
            signature = await plane.signatures.get(route.pool, match.model, version)
            infer = generate.decode_request(self._body, match.model, version, signature)
            self._deadline = route.deadline(self._started, limit)
            if signature.decoupled:
                await self._open(infer)
            else:
                await self._ask_once(infer)
        except GatewayError as error:
            self._finish(error.code)
            raise
        except asyncio.CancelledError:
            self._finish(Code.CANCELLED)
            raise

    async def _ask_once(self, infer: InferRequest) -> None:
        call = self._call(infer, MODEL_INFER)
        self._replies.append((await self._route.handler(call)).payload)
        self._done = True

    def _call(self, infer: InferRequest, method: object) -> Call:
        from gateway.ingress.rest import framed  # both are halves of the same service

        message = framed(oip_grpc.encode_request(infer))
        version = self._match.version or self._route.version
        return Call(
            MODEL_INFER if method is MODEL_INFER else MODEL_STREAM_INFER,
            infer.model,
            version,
            message,
            metadata=self.metadata,
            deadline=self._deadline,
        )

    async def _open(self, infer: InferRequest) -> None:
        infer.parameters = {**(infer.parameters or {}), "triton_enable_empty_final_response": True}
        call = self._call(infer, MODEL_STREAM_INFER)
        endpoint = self._route.pool.choose(call)
        endpoint.in_flight += 1
        self._endpoint = endpoint
        self._attempt = await endpoint.channel.stream(
            MODEL_STREAM_INFER.path, self, metadata=self.metadata, deadline=self._deadline
        )
        self._attempt.send(call.message, end=True)

    # from the endpoint

    def message_received(self, message: Buffer) -> None:
        """One response; the endpoint is stopped while too many wait."""
        self._replies.append(message)
        self._wake.set()
        if len(self._replies) >= HELD_RESPONSES and self._attempt is not None:
            self._attempt.pause()

    def stream_ended(self, error: GatewayError | None) -> None:
        """No more responses."""
        self._error = error
        self._done = True
        self._wake.set()

    def upstream_writable(self) -> None:
        """The one request was sent at once."""

    # to the client

    async def _next(self) -> bytes | None:
        """The JSON of the next response, None at the end. Raises `GatewayError` for an error response."""
        while True:
            while self._replies:
                message = self._replies.popleft()
                if not self._replies and self._attempt is not None:
                    self._attempt.resume()
                if (text := self._render(message)) is not None:
                    return text
            if self._done:
                if self._error is not None:
                    raise self._error
                return None
            self._wake.clear()
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._wake.wait()
            except TimeoutError:
                raise deadline_exceeded() from None

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
            first = await self._next()
            second = await self._next() if first is not None else None
        except GatewayError as error:
            self._code = error.code
            raise
        finally:
            self._close()
        if first is None or second is not None:
            raise GatewayError(Code.INVALID_ARGUMENT, EXACTLY_ONE, executed=True)
        return first

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The events of `generate_stream`. An error before the first one is raised here, a later one is an event."""
        try:
            first = await self._next()
        except BaseException as error:
            self._code = error.code if isinstance(error, GatewayError) else Code.CANCELLED
            self._close()
            raise
        return self._events(first)

    async def _events(self, text: bytes | None) -> AsyncGenerator[bytes, None]:
        try:
            while text is not None:
                yield sse.event(text)
                try:
                    text = await self._next()
                except GatewayError as error:
                    self._code = error.code
                    yield sse.event(encode_error(error.message))
                    if self._done and not self._replies:
                        return
                    text = await self._next()
        finally:
            self._close()

    def _close(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        self._finish(self._code)

    def _finish(self, code: int) -> None:
        if self._endpoint is not None:
            self._endpoint.in_flight -= 1
            self._endpoint = None
        self._route.finish("inference", code, self._plane.loop.time() - self._started)


def in_band(message: str) -> GatewayError:
    """An error that a stream told by its text only: the model's when it says so, else the client's."""
    if message.startswith("Failed to process the request(s)"):
        return GatewayError(Code.INTERNAL, message, fault=Fault.MODEL, executed=True)
    return GatewayError(Code.INVALID_ARGUMENT, message, executed=True)
