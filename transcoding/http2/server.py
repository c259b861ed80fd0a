"""The server's end of an HTTP/2 connection."""

from __future__ import annotations

from collections.abc import Callable

from transcoding.http2 import frames
from transcoding.http2.connection import Connection
from transcoding.http2.errors import ErrorCode
from transcoding.http2.frames import LARGEST_ID, PREFACE
from transcoding.http2.guards import no_time
from transcoding.http2.headers import HeaderBlock, request_block
from transcoding.http2.limits import Http2Limits
from transcoding.http2.stream import NOBODY, Receiver, Stream

# What an oversized header list costs of the nuisance budget: it is read almost in full to be refused.
_TOO_LARGE_COST = 10


class ServerConnection(Connection):
    """Takes requests: `accept(stream, block, end_stream)` gives each new stream its receiver.

    With `block.too_large` the request's headers exceeded the limits, `block.fields` holds only the first of them, and
    `accept` should answer 431. A server that has answered while the request still comes should read on or
    `stream.reset(NO_ERROR)`. `clock` gives seconds and refills the abuse budgets; without it only work does.
    """

    def __init__(
        self,
        limits: Http2Limits,
        accept: Callable[[Stream, HeaderBlock, bool], Receiver],
        clock: Callable[[], float] = no_time,
    ) -> None:
        super().__init__(limits, request_block, clock)
        self._accept = accept
        self._preface = PREFACE  # what is still missing of the client's preface
        self._refusing = False

    def receive(self, data: bytes) -> None:
        """Take what was read from the socket. What comes after `closed` is ignored."""
        if self._preface and not self.closed:
            size = min(len(self._preface), len(data))
            if data[:size] != self._preface[:size]:
                self._fail(ErrorCode.PROTOCOL_ERROR, "not an HTTP/2 preface")
                return
            self._preface = self._preface[size:]
            data = data[size:]
        super().receive(data)

    def goaway(self, code: int = 0, *, last: int | None = None, debug: bytes = b"") -> None:
        """GOAWAY. NO_ERROR announces a shutdown and still takes streams, until `goaway_final`, a round trip later."""
        super().goaway(code, last=LARGEST_ID if last is None else last, debug=debug)

    def goaway_final(self) -> None:
        """The GOAWAY that names the last stream; later ones are refused."""
        self._refusing = True
        self._send_goaway(self._last_id, ErrorCode.NO_ERROR, b"")

    def finished(self, stream: Stream) -> None:
        """Both sides have ended the stream; the answer is out, so nobody needs what was not read."""
        super().finished(stream)
        stream.release()

    def _greeting(self) -> tuple[bytes, ...]:
        limits = self.limits
        values = [
            (frames.HEADER_TABLE_SIZE, 0),
            (frames.MAX_CONCURRENT_STREAMS, limits.max_streams),
            (frames.INITIAL_WINDOW_SIZE, limits.stream_window),
            (frames.MAX_FRAME_SIZE, limits.max_frame),
            (frames.MAX_HEADER_LIST_SIZE, limits.header_list_bytes),
        ]
        return (frames.settings_frame(values),)

    def _headers(self, sid: int, block: HeaderBlock, ended: int) -> None:
        if sid <= self._last_id or not sid & 1:
            self._later_headers(sid, block, ended)
            return
        self._last_id = sid
        if self._refusing or len(self.streams) >= self.limits.max_streams:
            self._refuse(sid)
            return
        if block.error is not None or (ended and block.content_length > 0):
            self._send_reset(sid, ErrorCode.PROTOCOL_ERROR)
            self._ended_early()
            return
        if block.too_large:
            self._nuisance(_TOO_LARGE_COST)
        stream = Stream(self, sid, NOBODY)
        stream.headed = True
        if ended:
            stream.remote_open = False
        else:
            stream.expected = block.content_length
        self.streams[sid] = stream
        receiver = self._accept(stream, block, ended == 1)
        if sid in self.streams:
            stream.receiver = receiver

    def _refuse(self, sid: int) -> None:
        """One stream too many. Until the client has seen our limit that is no abuse of the stream budget."""
        self._send_reset(sid, ErrorCode.REFUSED_STREAM)
        if self.settings_acknowledged and not self._refusing:
            self._ended_early()
        else:
            self._nuisance()

    def _later_headers(self, sid: int, block: HeaderBlock, ended: int) -> None:
        """Trailers, or headers where none may be."""
        stream = self.streams.get(sid)
        if stream is None or not stream.remote_open:
            self._stray(stream, sid, "HEADERS")
        elif not ended or block.trailers_error is not None or stream.expected > 0:
            self._stream_error(stream, ErrorCode.PROTOCOL_ERROR)
        elif block.too_large:
            self._nuisance(_TOO_LARGE_COST)
            self._stream_error(stream, ErrorCode.ENHANCE_YOUR_CALM)
        else:
            self._remote_ended(stream)
            stream.receiver.headers_received(block, True)

    def _is_idle(self, sid: int) -> bool:
        return sid > self._last_id or not sid & 1

    def _ended_early(self) -> None:
        self._early_ends.spend(self.completed)

    def __repr__(self) -> str:
        state = f"error={self.error}" if self.error else f"closed={self.closed}"
        return f"ServerConnection({len(self.streams)} streams, {state})"
