"""One bidirectional gRPC stream to an endpoint, with back-pressure both ways.

Messages are handed to a sink as they arrive. While the sink is paused the bytes it got are not credited to the peer, so
the flow-control window stops the endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from routing.connectors.outcome import broken, compressed, from_status, not_grpc, status_of
from transcoding.grpc_framing import MessageReader
from transcoding.http2.errors import ErrorCode
from transcoding.http2.hpack import HeaderBlock
from transcoding.message import Buffer
from transcoding.status import Fault, GatewayError

if TYPE_CHECKING:
    from routing.connectors.grpc_h2 import Connection
    from transcoding.http2.stream import Stream


class StreamSink(Protocol):
    """Where an upstream stream delivers."""

    def message_received(self, message: Buffer) -> None:
        """One message, without its prefix."""
        ...

    def stream_ended(self, error: GatewayError | None) -> None:
        """The endpoint ended the stream; None is success. Called once."""
        ...

    def upstream_writable(self) -> None:
        """What was sent has left; more may be sent."""
        ...


class StreamAttempt:
    """The sending and receiving side of one stream to an endpoint."""

    stream: Stream
    connection: Connection

    def __init__(self, sink: StreamSink, limit: int, address: str) -> None:
        self._sink = sink
        self._reader = MessageReader(limit, Fault.WORKER)
        self._address = address
        self._owed = 0
        self._paused = False
        self.ended = False

    @property
    def queued(self) -> int:
        """Bytes that wait for the endpoint to make room."""
        return self.stream.queued

    def send(self, message: Sequence[Buffer], end: bool = False) -> None:
        """Send one message with its prefix."""
        if not self.ended:
            self.stream.send_data(message[0] if len(message) == 1 else b"".join(message), end)
            self.connection.schedule_flush()

    def half_close(self) -> None:
        """No more messages will be sent."""
        if not self.ended:
            self.stream.send_data(b"", True)
            self.connection.schedule_flush()

    def cancel(self) -> None:
        """Give up: the endpoint cancels its work, the sink hears nothing more."""
        if not self.ended:
            self.ended = True
            self.stream.reset(ErrorCode.CANCEL)
            self.connection.schedule_flush()

    def pause(self) -> None:
        """Stop crediting the endpoint."""
        self._paused = True

    def resume(self) -> None:
        """Credit what was held back."""
        self._paused = False
        if self._owed and not self.ended:
            owed, self._owed = self._owed, 0
            self.stream.consumed(owed)
            self.connection.schedule_flush()

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        """Trailers end the stream."""
        if end_stream:
            status = status_of(block)
            if status is None:
                self._end(not_grpc(self._address, block))
            else:
                self._end(from_status(*status) if status[0] else self._cut_off())

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        """Hand on whole messages."""
        try:
            messages = self._reader.feed(data)
        except GatewayError as error:
            self._break_off(error)
            return
        for flags, message in messages:
            if flags:
                self._break_off(compressed(self._address))
                return
            self._sink.message_received(message)
            if self.ended:
                return
        if self._paused:
            self._owed += len(data)
        else:
            self.stream.consumed(len(data))
        if end_stream:
            self._end(broken(self._address, ErrorCode.PROTOCOL_ERROR, executed=True))

    def stream_reset(self, code: int, remote: bool) -> None:
        """The endpoint broke off."""
        executed = not (self.stream.refused or not self.stream.id or self.stream.id > self.connection.flushed_id)
        self._end(broken(self._address, code, executed=executed))

    def writable(self) -> None:
        """Room again after a queue."""
        self._sink.upstream_writable()

    def _cut_off(self) -> GatewayError | None:
        try:
            self._reader.finish()
        except GatewayError as error:
            error.executed = True
            return error
        return None

    def _break_off(self, error: GatewayError) -> None:
        error.executed = True  # its requests may have run: they must not be sent again
        self.stream.reset(ErrorCode.CANCEL)
        self.connection.schedule_flush()
        self._end(error)

    def _end(self, error: GatewayError | None) -> None:
        if not self.ended:
            self.ended = True
            self._sink.stream_ended(error)
