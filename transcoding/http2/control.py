"""The state of a connection and the frames that steer it: settings, windows, resets, PING, GOAWAY (RFC 9113 §6).

`Control` is the lower half of `connection.Connection`, which reads frames and hands those of this module down.
"""

from __future__ import annotations

from collections.abc import Callable

from transcoding.http2 import frames
from transcoding.http2.errors import ErrorCode, ProtocolError
from transcoding.http2.flow import Buffer, Sending
from transcoding.http2.frames import DEFAULT_WINDOW, LARGEST_ID, LARGEST_WINDOW
from transcoding.http2.guards import Budget, no_time
from transcoding.http2.headers import Rules
from transcoding.http2.hpack import NO_DYNAMIC_TABLE, Decoder
from transcoding.http2.limits import Http2Limits
from transcoding.http2.stream import Stream

# Streams that we reset lately: what the peer sent before it knew is tolerated. More are not remembered.
_RESETS_REMEMBERED = 512
# What one finished stream pays back of the nuisance budget; a KiB of DATA, either way, pays back one.
_WORK_PER_STREAM = 8


class Control:
    """What a connection knows and answers; see `Connection` for the whole.

    `outgoing` belongs to the I/O layer, which writes and clears it. `outgoing_control` counts the frames put there that
    only answer the peer (acknowledgements and resets): the I/O layer sets it to 0 when the transport has drained, and
    stops reading while it is large. `received` and `sending.sent` count DATA bytes, to see progress by. `error` is the
    code and reason of what closed the connection. `goaway_received`: the peer takes no new streams.
    """

    def __init__(self, limits: Http2Limits, rules: Rules, clock: Callable[[], float] = no_time) -> None:
        self.limits = limits
        self.outgoing: list[Buffer] = []
        self.outgoing_control = 0
        self.streams: dict[int, Stream] = {}
        self.closed = False
        self.error: tuple[int, str] | None = None
        self.on_pong: Callable[[bytes], None] | None = None
        self.goaway_received = False
        self.settings_acknowledged = False
        self.completed = 0

        self.sending = Sending(self.outgoing)
        self.peer_window = DEFAULT_WINDOW
        self.header_room = -1  # of a header frame, in bytes; negative until the first block is sent

        # Until the peer has seen our SETTINGS it uses the default window, even when ours is smaller.
        self.stream_window = max(limits.stream_window, DEFAULT_WINDOW)
        self.received = 0
        self.granted = limits.connection_window
        self.owed = 0
        self.owed_limit = limits.connection_window // 2

        self._decoder = Decoder(rules, limits.header_list_bytes, limits.headers)
        self._last_id = 0  # the highest stream id that the peer opened
        self._announced = LARGEST_ID  # the last id of the GOAWAY that we sent, which may only fall
        self._resets: dict[int, None] = {}
        self._nuisances = Budget("too many frames without use", limits.nuisances, limits.nuisances_per_second, clock)
        self._early_ends = Budget("too many streams reset", limits.resets, limits.resets_per_second, clock)

    # What the I/O layer calls.

    def ping(self, payload: bytes) -> None:
        """PING with 8 bytes; `on_pong` gets them back."""
        if len(payload) != 8:
            raise ValueError(f"payload: expected 8 bytes, got {len(payload)}")
        self.outgoing.append(frames.ping_frame(payload))

    def goaway(self, code: int = 0, *, last: int | None = None, debug: bytes = b"") -> None:
        """GOAWAY. NO_ERROR lets open streams finish; any other code closes the connection and resets them."""
        if code:
            self._fail(code, debug.decode("ascii", "replace"))
        else:
            self._send_goaway(self._last_id if last is None else last, code, debug)

    def connection_lost(self) -> None:
        """The transport is gone: the receiver of every open stream hears of a reset that is not remote."""
        self.closed = True
        self._reset_all(ErrorCode.INTERNAL_ERROR)

    # What streams call.

    def begin(self, stream: Stream) -> None:
        """Give a client's stream its id."""
        raise RuntimeError(f"{stream!r} has no id")

    def finished(self, stream: Stream) -> None:
        """Both sides have ended the stream."""
        self.streams.pop(stream.id, None)
        self.completed += 1

    def reset(self, stream: Stream, code: int) -> None:
        """End the stream by RST_STREAM, or when it is over already release what was not read."""
        if self.streams.get(stream.id) is stream:
            self._send_reset(stream.id, code)
            self._forget(stream)
        else:
            stream.release()

    def give_back(self) -> None:
        """WINDOW_UPDATE for all that the connection owes."""
        self.outgoing.append(frames.window_update(0, self.owed))
        self.granted += self.owed
        self.owed = 0

    def first_block(self, block: bytes) -> bytes:
        """The first header block that we send, with what must stand before it."""
        self.header_room = self.sending.max_frame
        return NO_DYNAMIC_TABLE + block

    # Frames.

    def _window_update(self, sid: int, increment: int) -> None:
        self._nuisance()
        if not sid:
            if not increment:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            if not self.sending.widen(increment):
                raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window exceeds 2**31-1")
            return
        stream = self.streams.get(sid)
        if stream is None:
            self._check_not_idle(sid, "WINDOW_UPDATE")
        elif not increment:
            self._stream_error(stream, ErrorCode.PROTOCOL_ERROR)
        elif stream.send_window + increment > LARGEST_WINDOW:
            self._stream_error(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            stream.send_window += increment
            self.sending.push(stream)

    def _rst_stream(self, sid: int, code: int) -> None:
        stream = self.streams.get(sid)
        if stream is None:
            self._check_not_idle(sid, "RST_STREAM")
            self._nuisance()
            return
        if stream.local_open or stream.outbox is not None:
            self._ended_early()
        stream.refused = code == ErrorCode.REFUSED_STREAM
        self._die(stream, code, remote=True)

    def _settings(self, flags: int, sid: int, payload: bytes) -> None:
        if sid:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
            self._acknowledged()
            return
        self._nuisance(1 + len(payload) // 6)
        values = frames.parse_settings(payload)
        # The acknowledgement stands before all that the new values allow, or a strict peer counts that as too much.
        self._answer(frames.SETTINGS_ACK)
        self._peer_settings(values)

    def _acknowledged(self) -> None:
        """The peer knows our SETTINGS. Windows of open streams shrink by what it assumed too much."""
        if self.settings_acknowledged:
            self._nuisance()
            return
        self.settings_acknowledged = True
        self._decoder.acknowledged()
        excess = self.stream_window - self.limits.stream_window
        if excess:
            self.stream_window -= excess
            for stream in self.streams.values():
                stream.room -= excess
                stream.give_back()

    def _peer_settings(self, values: dict[int, int]) -> None:
        if frames.MAX_FRAME_SIZE in values:
            self.sending.max_frame = values[frames.MAX_FRAME_SIZE]
            if self.header_room >= 0:
                self.header_room = self.sending.max_frame
        window = values.get(frames.INITIAL_WINDOW_SIZE)
        if window is not None and window != self.peer_window:
            self._resize_windows(window)

    def _resize_windows(self, window: int) -> None:
        """RFC 9113 §6.9.2: every stream's window moves by the difference, below zero too."""
        change = window - self.peer_window
        self.peer_window = window
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW:
                raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, f"stream {stream.id}: window exceeds 2**31-1")
        for stream in [*self.streams.values()] if change > 0 else ():
            self.sending.push(stream)

    def _ping(self, flags: int, sid: int, payload: bytes) -> None:
        if sid:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"PING: expected 8 bytes, got {len(payload)}")
        self._nuisance()
        if not flags & frames.ACK:
            self._answer(frames.ping_frame(payload, ack=True))
        elif self.on_pong is not None:
            self.on_pong(payload)

    def _goaway(self, last: int, code: int) -> None:
        self._nuisance()
        self.goaway_received = True

    def _priority_or_unknown(self, kind: int, sid: int, payload: bytes) -> None:
        """PRIORITY is only checked (RFC 9113 §5.3.2), unknown types are ignored (§4.1)."""
        self._nuisance()
        if kind != frames.PRIORITY:
            return
        if not sid:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PRIORITY on the connection")
        if len(payload) != 5:
            stream = self.streams.get(sid)
            if stream is None:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY: expected 5 bytes, got {len(payload)}")
            self._stream_error(stream, ErrorCode.FRAME_SIZE_ERROR)

    # Streams that end badly.

    def _stray(self, stream: Stream | None, sid: int, what: str) -> None:
        """A frame for a stream on which the peer may not send it (RFC 9113 §5.1)."""
        if stream is not None:
            self._stream_error(stream, ErrorCode.STREAM_CLOSED)
            return
        self._check_not_idle(sid, what)
        if sid not in self._resets and len(self._resets) < _RESETS_REMEMBERED:
            raise ProtocolError(ErrorCode.STREAM_CLOSED, f"{what} on closed stream {sid}")
        self._nuisance()

    def _check_not_idle(self, sid: int, what: str) -> None:
        if self._is_idle(sid):
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"{what} on idle stream {sid}")

    def _is_idle(self, sid: int) -> bool:
        """Whether nobody has opened this stream yet; the connection itself, 0, counts as idle."""
        raise NotImplementedError

    def _stream_error(self, stream: Stream, code: int) -> None:
        """Reset a stream for the peer's mistake."""
        self._send_reset(stream.id, code)
        self._die(stream, code, remote=False)
        self._ended_early()

    def _die(self, stream: Stream, code: int, remote: bool) -> None:
        receiver = stream.receiver
        self._forget(stream)
        receiver.stream_reset(code, remote)

    def _forget(self, stream: Stream) -> None:
        self.streams.pop(stream.id, None)
        stream.die()

    def _reset_all(self, code: int) -> None:
        streams = [*self.streams.values()]
        self.streams.clear()
        for stream in streams:
            self._die(stream, code, remote=False)

    def _ended_early(self) -> None:
        """A stream ended early by the peer's doing; a server charges that to a budget."""

    # Answers.

    def _send_reset(self, sid: int, code: int) -> None:
        self._answer(frames.rst_stream(sid, code))
        self._resets[sid] = None
        if len(self._resets) > _RESETS_REMEMBERED:
            del self._resets[next(iter(self._resets))]

    def _answer(self, frame: bytes) -> None:
        self.outgoing.append(frame)
        self.outgoing_control += 1

    def _nuisance(self, cost: int = 1) -> None:
        work = self.completed * _WORK_PER_STREAM + ((self.received + self.sending.sent) >> 10)
        self._nuisances.spend(work, cost)

    def _send_goaway(self, last: int, code: int, debug: bytes) -> None:
        self._announced = min(last, self._announced)
        self.outgoing.append(frames.goaway_frame(self._announced, code, debug))

    def _fail(self, code: int, reason: str) -> None:
        """Close the connection for an error: GOAWAY, and every open stream is reset."""
        if self.closed:
            return
        self.closed = True
        self.error = (code, reason)
        self._send_goaway(self._last_id, code, reason.encode("ascii", "replace")[:256])
        self._reset_all(code)
