"""The client's end of an HTTP/2 connection."""

from __future__ import annotations

from collections.abc import Callable

from transcoding.http2 import frames
from transcoding.http2.connection import Connection
from transcoding.http2.errors import ErrorCode, ProtocolError
from transcoding.http2.frames import LARGEST_ID, PREFACE
from transcoding.http2.guards import no_time
from transcoding.http2.headers import HeaderBlock, response_block
from transcoding.http2.limits import Http2Limits
from transcoding.http2.stream import Receiver, Stream

# How many streams we open before the server's SETTINGS say more (RFC 9113 §6.5.2 recommends no less than 100).
_ASSUMED_STREAMS = 100


class ClientConnection(Connection):
    """Makes requests: `open` while `available`, then `Stream.send_all` or its parts.

    `on_available` is called when a stream may be opened again after `available` said no, `on_settled` once, when the
    server has said what it allows. `clock` gives seconds and refills the abuse budgets; without it only work does.
    """

    def __init__(self, limits: Http2Limits, clock: Callable[[], float] = no_time) -> None:
        super().__init__(limits, response_block, clock)
        self.on_available: Callable[[], None] | None = None
        self.on_settled: Callable[[], None] | None = None
        self._peer_streams = _ASSUMED_STREAMS
        self._next_id = 1
        self._unsent = 0  # streams that were opened and have sent no headers yet
        self._waited_for = False
        self._settled = False  # the server's first SETTINGS arrived

    @property
    def available(self) -> bool:
        """Whether a stream may be opened now: below the server's limit, no GOAWAY, ids left."""
        free = (
            len(self.streams) + self._unsent < self._peer_streams
            and not self.goaway_received
            and not self.closed
            and self._next_id + 2 * self._unsent <= LARGEST_ID
        )
        if not free:
            self._waited_for = True
        return free

    def open(self, receiver: Receiver) -> Stream:
        """A new stream; its id is given when headers are sent. Raises RuntimeError unless `available`."""
        stream = self.try_open(receiver)
        if stream is None:
            raise RuntimeError("no stream available")
        return stream

    def try_open(self, receiver: Receiver) -> Stream | None:
        """A new stream as `open` gives it, None unless `available`."""
        if not self.available:
            return None
        self._unsent += 1
        return Stream(self, 0, receiver)

    def begin(self, stream: Stream) -> None:
        """Give the stream its id, or refuse it when the server has said GOAWAY since it was opened."""
        self._unsent -= 1
        if self.goaway_received or self.closed:
            stream.refused = True
            self._die(stream, ErrorCode.REFUSED_STREAM, remote=False)
            return
        # Settings may have changed the window since the stream was opened.
        stream.send_window = self.peer_window
        stream.room = self.stream_window
        stream.id = self._next_id
        self._next_id += 2
        self.streams[stream.id] = stream

    def finished(self, stream: Stream) -> None:
        """Both sides have ended the stream."""
        super().finished(stream)
        if self._waited_for:
            self._now_available()

    def reset(self, stream: Stream, code: int) -> None:
        """End the stream; one that was never sent needs no RST_STREAM."""
        if not stream.id and not stream.dead:
            self._unsent -= 1
            self._forget(stream)
        else:
            super().reset(stream, code)

    def _greeting(self) -> tuple[bytes, ...]:
        limits = self.limits
        values = [
            (frames.HEADER_TABLE_SIZE, 0),
            (frames.ENABLE_PUSH, 0),
            (frames.INITIAL_WINDOW_SIZE, limits.stream_window),
            (frames.MAX_FRAME_SIZE, limits.max_frame),
            (frames.MAX_HEADER_LIST_SIZE, limits.header_list_bytes),
        ]
        return PREFACE, frames.settings_frame(values)

    def _headers(self, sid: int, block: HeaderBlock, ended: int) -> None:
        stream = self.streams.get(sid)
        if stream is None or not stream.remote_open:
            self._stray(stream, sid, "HEADERS")
        elif block.too_large:
            self._stream_error(stream, ErrorCode.ENHANCE_YOUR_CALM)
        elif stream.headed:
            self._trailers(stream, block, ended)
        elif block.error is not None or (block.informational and ended):
            self._stream_error(stream, ErrorCode.PROTOCOL_ERROR)
        elif block.informational:
            self._nuisance()
        else:
            stream.headed = True
            stream.expected = block.content_length
            # Without DATA, content-length promises nothing: it may answer HEAD or a conditional request.
            if ended:
                self._remote_ended(stream)
            stream.receiver.headers_received(block, ended == 1)

    def _trailers(self, stream: Stream, block: HeaderBlock, ended: int) -> None:
        if not ended or block.trailers_error is not None or stream.expected > 0:
            self._stream_error(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self._remote_ended(stream)
            stream.receiver.headers_received(block, True)

    def _goaway(self, last: int, code: int) -> None:
        """Streams above `last` were not processed and may be sent again elsewhere."""
        super()._goaway(last, code)
        for stream in [*self.streams.values()]:
            if stream.id > last:
                stream.refused = True
                self._die(stream, ErrorCode.REFUSED_STREAM, remote=False)

    def _peer_settings(self, values: dict[int, int]) -> None:
        if values.get(frames.ENABLE_PUSH):
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a server enabled push")
        first, self._settled = not self._settled, True
        if first:
            self._peer_streams = LARGEST_ID
        super()._peer_settings(values)
        self._peer_streams = values.get(frames.MAX_CONCURRENT_STREAMS, self._peer_streams)
        if first and self.on_settled is not None:
            self.on_settled()
        self._now_available()

    def _forget(self, stream: Stream) -> None:
        super()._forget(stream)
        if self._waited_for:
            self._now_available()

    def _now_available(self) -> None:
        if self._waited_for and self.available:
            self._waited_for = False
            if self.on_available is not None:
                self.on_available()

    def _stray(self, stream: Stream | None, sid: int, what: str) -> None:
        """What comes for a stream that is over is dropped: the connection carries the requests of many others, and a
        server sends for a while on streams that we have reset. gRPC's C core even sends the trailers twice when a
        deadline and its own cancellation meet."""
        if stream is not None:
            super()._stray(stream, sid, what)
        else:
            self._check_not_idle(sid, what)

    def _is_idle(self, sid: int) -> bool:
        return sid >= self._next_id or not sid & 1

    def __repr__(self) -> str:
        state = f"error={self.error}" if self.error else f"closed={self.closed}"
        return f"ClientConnection({len(self.streams)} streams, next id {self._next_id}, {state})"
