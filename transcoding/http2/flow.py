"""Flow control on the sending side (RFC 9113 §5.2, §6.9): what waits for windows, and whose turn it is.

The receiving side needs two numbers per window, `room` that the peer has left and `owed` bytes that were consumed but
not yet given back; they live in `stream` and `connection`, where each DATA frame counts them. A window of size W is
always room + unread + owed, so what the application has not yet read needs no counter of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from transcoding.http2.frames import DATA, DEFAULT_MAX_FRAME, DEFAULT_WINDOW, END_STREAM, HEAD, LARGEST_WINDOW

if TYPE_CHECKING:
    from transcoding.http2.stream import Stream

Buffer = bytes | memoryview

# A writer should pause above the high mark and is told by `Receiver.writable` below the low one. Bytes per stream.
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024

# Up to this size a payload is copied behind its frame header; above, header and payload are two buffers.
SMALL = 4096


class Outbox:
    """What one stream has queued because a window is closed.

    `tail` ends the stream after the data: None when nothing ends it yet, b"" for END_STREAM on the last DATA frame,
    else an encoded block of trailers. `waiting` says that the stream is in the connection's round robin, `taken` counts
    the bytes that left.
    """

    __slots__ = ("above", "chunks", "size", "tail", "taken", "waiting")

    def __init__(self) -> None:
        self.chunks: deque[memoryview] = deque()
        self.size = 0
        self.taken = 0
        self.tail: bytes | None = None
        self.above = False
        self.waiting = False

    def put(self, data: Buffer) -> None:
        if len(data):
            self.chunks.append(memoryview(data))
            self.size += len(data)
            self.above = self.above or self.size > HIGH_WATER

    def take(self, most: int) -> memoryview:
        """Up to `most` bytes of the first chunk."""
        first = self.chunks[0]
        if len(first) <= most:
            self.chunks.popleft()
        else:
            self.chunks[0] = first[most:]
            first = first[:most]
        self.size -= len(first)
        self.taken += len(first)
        return first

    def __repr__(self) -> str:
        return f"Outbox({self.size} bytes, tail={self.tail!r})"


class Sending:
    """The connection's sending window and the streams that wait for it.

    `sent` and `allowed` count all DATA bytes of the connection's life; the window is their difference.
    """

    __slots__ = ("allowed", "max_frame", "outgoing", "sent", "turns")

    def __init__(self, outgoing: list[Buffer]) -> None:
        self.outgoing = outgoing
        self.sent = 0
        self.allowed = DEFAULT_WINDOW
        self.max_frame = DEFAULT_MAX_FRAME
        # Streams with queued data and an open window of their own; empty unless the connection's window is closed.
        self.turns: deque[Stream] = deque()

    def write(self, stream: int, data: Buffer, flags: int) -> None:
        """One DATA frame; windows are the caller's business."""
        head = HEAD.pack(len(data) << 8 | DATA, flags, stream)
        if len(data) <= SMALL:
            self.outgoing.append(b"".join((head, data)))
        else:
            self.outgoing += (head, data)

    def widen(self, increment: int) -> bool:
        """The peer widened the connection's window. False when that is more than a window may be."""
        if self.allowed - self.sent + increment > LARGEST_WINDOW:
            return False
        self.allowed += increment
        if self.turns:
            self.drain()
        return True

    def push(self, stream: Stream) -> None:
        """The stream has queued data: send what its window allows, when it is its turn."""
        outbox = stream.outbox
        if outbox is not None and not outbox.waiting and stream.send_window > 0:
            outbox.waiting = True
            self.turns.append(stream)
            self.drain()

    def drain(self) -> None:
        """Round robin, one frame per stream and turn, until the connection's window is closed or nobody waits."""
        relieved: list[Stream] = []
        while self.turns and self.allowed > self.sent:
            stream = self.turns.popleft()
            outbox = stream.outbox
            if outbox is None:
                continue
            self._frame(stream, outbox)
            outbox.waiting = outbox.size > 0 and stream.send_window > 0
            if outbox.waiting:
                self.turns.append(stream)
            elif not outbox.size:
                stream.flushed(outbox)
            if outbox.above and outbox.size < LOW_WATER:
                outbox.above = False
                relieved.append(stream)
        for stream in relieved:
            if stream.local_open:
                stream.receiver.writable()

    def _frame(self, stream: Stream, outbox: Outbox) -> None:
        data = outbox.take(min(self.max_frame, self.allowed - self.sent, stream.send_window))
        self.sent += len(data)
        stream.send_window -= len(data)
        last = not outbox.size and outbox.tail == b""
        self.write(stream.id, data, END_STREAM if last else 0)

    def __repr__(self) -> str:
        return f"Sending(window={self.allowed - self.sent}, waiting={len(self.turns)})"
