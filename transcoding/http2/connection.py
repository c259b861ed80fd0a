"""Reading HTTP/2 (RFC 9113): bytes in, calls on the receivers of streams, and bytes out.

Sans-I/O: `receive` takes what the socket gave, calls the receivers, and leaves bytes in `outgoing`. Nothing that a peer
sends raises; a mistake that ends the connection leaves `error` set, `closed` True and a GOAWAY in `outgoing`.
"""

from __future__ import annotations

from collections.abc import Callable

from transcoding.http2 import frames
from transcoding.http2.control import Control
from transcoding.http2.errors import ErrorCode, ProtocolError
from transcoding.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEAD_SIZE,
    HEADERS,
    LARGEST_ID,
    LARGEST_WINDOW,
    PADDED,
    WITH_PRIORITY,
)
from transcoding.http2.guards import no_time
from transcoding.http2.headers import HeaderBlock, Rules
from transcoding.http2.limits import Http2Limits
from transcoding.http2.stream import Stream

# DATA above this size reaches the receiver as a view of what was read, below as bytes of its own.
_VIEW_ABOVE = 1024
_PLAIN_HEADERS = PADDED | WITH_PRIORITY | END_HEADERS


class _OpenBlock:
    """A header block that goes on in CONTINUATION frames."""

    __slots__ = ("ended", "fragment", "frames", "stream")

    def __init__(self, stream: int, ended: int, fragment: bytes) -> None:
        self.stream = stream
        self.ended = ended
        self.fragment = bytearray(fragment)
        self.frames = 0


class Connection(Control):
    """One end of a connection; use `ServerConnection` or `ClientConnection`."""

    def __init__(self, limits: Http2Limits, rules: Rules, clock: Callable[[], float] = no_time) -> None:
        super().__init__(limits, rules, clock)
        self._held = bytearray()  # the beginning of a frame that is not complete yet
        self._needed = 0  # bytes of that frame to go on with; 0 when nothing is held
        self._begun = 0  # counts frames and header blocks that were begun and not complete at once
        self._block_begun = 0
        self._greeted = False  # the peer's first SETTINGS arrived
        self._block: _OpenBlock | None = None
        self._ordinary = False  # nothing restricts the next frame: greeted, and no header block is open

    def start(self) -> None:
        """Put the preface and our SETTINGS into `outgoing`."""
        self.outgoing += self._greeting()
        excess = self.limits.connection_window - frames.DEFAULT_WINDOW
        if excess:
            self.outgoing.append(frames.window_update(0, excess))

    def _greeting(self) -> tuple[bytes, ...]:
        raise NotImplementedError

    @property
    def incomplete(self) -> int:
        """0, or a number for the frame or header block that is not complete; another one has another number."""
        if self._block is not None:
            return self._block_begun
        return self._begun if self._needed else 0

    def receive(self, data: bytes) -> None:
        """Take what was read from the socket. What comes after `closed` is ignored."""
        if self.closed:
            return
        try:
            self._parse(data, self._resume(data) if self._needed else 0)
        except ProtocolError as error:
            self._fail(error.code, error.reason)

    def _resume(self, data: bytes) -> int:
        """Complete the frame that began in an earlier read; gives where the next frame begins in `data`."""
        at, held = 0, self._held
        while self._needed and at < len(data) and not self.closed:
            piece = data[at : at + self._needed - len(held)]
            held += piece
            at += len(piece)
            if len(held) < self._needed:
                break
            whole = bytes(held)
            held.clear()
            self._needed = 0
            self._parse(whole, 0)
        return at

    def _parse(self, data: bytes, at: int) -> None:
        """The frames in `data` from `at` on; what is incomplete is held."""
        end, unpack, streams, max_frame = len(data), HEAD.unpack_from, self.streams, self.limits.max_frame
        while end - at >= HEAD_SIZE and not self.closed:
            word, flags, sid = unpack(data, at)
            length, kind, begin = word >> 8, word & 0xFF, at + HEAD_SIZE
            if length > max_frame:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes")
            if begin + length > end:
                self._held += data[at:]
                self._needed = HEAD_SIZE + length
                self._begun += 1
                return
            at = begin + length
            if sid > LARGEST_ID:
                sid &= LARGEST_ID
            if not self._ordinary:
                self._check_order(kind, flags, sid)
            if kind == DATA:
                stream = streams.get(sid)
                if stream is None or flags > END_STREAM or not length or not stream.remote_open:
                    self._unusual_data(stream, flags, sid, data[begin:at])
                    continue
                self.received += length
                stream.room -= length
                if stream.room < 0 or self.received > self.granted:
                    raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, f"stream {sid}: DATA beyond the window")
                if stream.expected >= 0 and not self._expected(stream, length, flags):
                    continue
                if flags:
                    stream.remote_open = False
                    if not stream.local_open and stream.outbox is None:
                        self.finished(stream)
                payload = data[begin:at] if length <= _VIEW_ABOVE else memoryview(data)[begin:at]
                stream.receiver.data_received(payload, flags == END_STREAM)
            elif kind == HEADERS and flags & _PLAIN_HEADERS == END_HEADERS:
                self._headers(sid, self._decoder.decode(data[begin:at]), flags & END_STREAM)
            else:
                self._control(kind, flags, sid, data[begin:at])
        if at < end and not self.closed:
            self._held += data[at:]
            self._needed = HEAD_SIZE
            self._begun += 1

    def _check_order(self, kind: int, flags: int, sid: int) -> None:
        """The first frame is SETTINGS, and nothing stands inside a header block (RFC 9113 §3.4, §6.10)."""
        if not self._greeted:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._greeted = self._ordinary = True
        elif self._block is None or kind != CONTINUATION or sid != self._block.stream:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "frame inside a header block")

    def _unusual_data(self, stream: Stream | None, flags: int, sid: int, payload: bytes) -> None:
        """DATA that is padded or empty, or for a stream that takes none."""
        self.received += len(payload)
        if self.received > self.granted:
            raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        data = frames.unpad(flags, payload)
        if stream is None or not stream.remote_open:
            self._credit(len(payload))
            self._stray(stream, sid, "DATA")
            return
        ended = flags & END_STREAM
        stream.room -= len(payload)
        if stream.room < 0:
            raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, f"stream {sid}: DATA beyond the window")
        if not stream.headed:
            self._stream_error(stream, ErrorCode.PROTOCOL_ERROR)
            return
        if not data and not ended:
            self._nuisance()
        if stream.expected >= 0 and not self._expected(stream, len(data), ended):
            return
        stream.consumed(len(payload) - len(data))
        if ended:
            self._remote_ended(stream)
        if data or ended:
            stream.receiver.data_received(data, bool(ended))

    def _credit(self, size: int) -> None:
        self.owed += size
        if self.owed >= self.owed_limit:
            self.give_back()

    def _expected(self, stream: Stream, length: int, ended: int) -> bool:
        """Count DATA against content-length; False when they disagree and the stream is reset for it."""
        stream.expected -= length
        if stream.expected < 0 or (ended and stream.expected):
            self._stream_error(stream, ErrorCode.PROTOCOL_ERROR)
            return False
        return True

    def _remote_ended(self, stream: Stream) -> None:
        stream.remote_open = False
        if not stream.local_open and stream.outbox is None:
            self.finished(stream)

    def _headers(self, sid: int, block: HeaderBlock, ended: int) -> None:
        raise NotImplementedError

    def _control(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        """Every frame but DATA and a HEADERS frame that is a block by itself."""
        if kind == frames.WINDOW_UPDATE:
            self._window_update(sid, frames.word(payload, "WINDOW_UPDATE") & LARGEST_WINDOW)
        elif kind == HEADERS:
            self._open_block(flags, sid, payload)
        elif kind == CONTINUATION:
            self._continue_block(flags, payload)
        elif kind == frames.RST_STREAM:
            self._rst_stream(sid, frames.word(payload, "RST_STREAM"))
        elif kind == frames.SETTINGS:
            self._settings(flags, sid, payload)
        elif kind == frames.PING:
            self._ping(flags, sid, payload)
        elif kind == frames.GOAWAY:
            if sid:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
            self._goaway(*frames.parse_goaway(payload)[:2])
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE")
        else:
            self._priority_or_unknown(kind, sid, payload)

    def _open_block(self, flags: int, sid: int, payload: bytes) -> None:
        """HEADERS that are padded, carry a priority, or go on in CONTINUATION frames."""
        fragment = frames.header_fragment(flags, payload)
        if flags & END_HEADERS:
            self._headers(sid, self._decoder.decode(fragment), flags & END_STREAM)
        else:
            self._block = _OpenBlock(sid, flags & END_STREAM, fragment)
            self._begun += 1
            self._block_begun = self._begun
            self._ordinary = False

    def _continue_block(self, flags: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block.frames += 1
        block.fragment += payload
        if block.frames > self.limits.continuations or len(block.fragment) > self._decoder.block_bytes:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "header block in too many pieces, or too large")
        if flags & END_HEADERS:
            self._block, self._ordinary = None, True
            self._headers(block.stream, self._decoder.decode(bytes(block.fragment)), block.ended)
