"""One stream (RFC 9113 §5.1): what the application sends on it and is told about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from transcoding.http2.flow import SMALL, Buffer, Outbox
from transcoding.http2.frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEAD, HEADERS, window_update
from transcoding.http2.headers import HeaderBlock

if TYPE_CHECKING:
    from transcoding.http2.connection import Connection

_pack = HEAD.pack
_HEADERS_ENDED = END_HEADERS | END_STREAM


class Receiver(Protocol):
    """What happens on a stream. None of these may call `Connection.receive`."""

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        """The response's headers, then the trailers if there are any; on a server only trailers. 1xx are skipped."""

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        """DATA. Call `Stream.consumed` with its length once it is dealt with."""

    def stream_reset(self, code: int, remote: bool) -> None:
        """The stream is dead and nothing follows. `remote`: the peer sent RST_STREAM with `code`; otherwise we reset
        it for the peer's mistake, the connection ended, or a GOAWAY refused it (see `Stream.refused`).

        After `end_stream` this says that the peer takes no more of what we send; what it sent stays valid."""

    def writable(self) -> None:
        """`Stream.queued` fell below the low-water mark after it had been above the high one."""


class _Nobody:
    """The receiver of a stream that has none yet, or no longer."""

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None: ...

    def data_received(self, data: Buffer, end_stream: bool) -> None: ...

    def stream_reset(self, code: int, remote: bool) -> None: ...

    def writable(self) -> None: ...


NOBODY: Receiver = _Nobody()


class Stream:
    """A stream of a connection, made by `ClientConnection.open` or handed to a server's `accept`.

    `id` is 0 on a client until headers are sent, because ids must reach the wire in order. `refused` is True after a
    reset when the peer provably did not process the stream. Sending on a stream that was reset does nothing; sending
    after its end raises RuntimeError. `local_open` and `remote_open` turn False with the last call of either side;
    our end is on the wire once `outbox` is empty too. Sizes and windows are in bytes.
    """

    __slots__ = (
        "connection",
        "dead",
        "expected",
        "headed",
        "id",
        "local_open",
        "outbox",
        "owed",
        "receiver",
        "refused",
        "remote_open",
        "room",
        "send_window",
    )

    def __init__(self, connection: Connection, stream_id: int, receiver: Receiver) -> None:
        self.connection = connection
        self.id = stream_id
        self.receiver = receiver
        self.send_window = connection.peer_window
        self.room = connection.stream_window
        self.owed = 0
        self.expected = 0  # bytes of DATA that may still come: none before headers; -1 without a content-length
        self.local_open = self.remote_open = True
        self.headed = self.refused = self.dead = False
        self.outbox: Outbox | None = None

    @property
    def queued(self) -> int:
        """Bytes that wait for flow control."""
        return self.outbox.size if self.outbox is not None else 0

    def send_headers(self, block: bytes, end_stream: bool = False) -> None:
        """HEADERS with an encoded block: the message's headers, or with `end_stream` after data its trailers."""
        if not self._may_send():
            return
        if self.outbox is not None:
            if not end_stream:
                raise RuntimeError(f"stream {self.id}: headers in the middle of data")
            self.outbox.tail = block
            self.local_open = False
            return
        self._write_headers(block, end_stream)
        if end_stream:
            self._end()

    def send_data(self, data: Buffer, end_stream: bool = False) -> None:
        """DATA, now as far as the windows allow and queued beyond. The buffer must not change until it is written."""
        if not self._may_send():
            return
        sending = self.connection.sending
        size = len(data)
        fits = size <= sending.max_frame and size <= self.send_window and size <= sending.allowed - sending.sent
        if self.outbox is None and (fits or not size):
            sending.sent += size
            self.send_window -= size
            sending.write(self.id, data, END_STREAM if end_stream else 0)
            if end_stream:
                self._end()
        else:
            self._queue(data, end_stream)

    def send_all(self, headers: bytes, data: Buffer, trailers: bytes | None) -> None:
        """A whole message: headers, data, and trailers unless None. One buffer when it is small and windows allow."""
        connection = self.connection
        sending = connection.sending
        size = len(data)
        if not self.id and not self.dead:
            connection.begin(self)
        if (
            size <= SMALL
            and self.local_open
            and len(headers) <= connection.header_room
            and size <= sending.allowed - sending.sent
            and size <= self.send_window
            and (trailers is None or len(trailers) <= connection.header_room)
        ):
            sending.sent += size
            connection.outgoing.append(_message(self.id, headers, data, trailers))
            self._end()
            return
        bare = not size and trailers is None
        self.send_headers(headers, bare)
        if size:
            self.send_data(data, trailers is None)
        if trailers is not None:
            self.send_headers(trailers, True)

    def reset(self, code: int) -> None:
        """RST_STREAM; queued data is dropped, and the receiver hears nothing more. Harmless on a finished stream."""
        self.connection.reset(self, code)

    def consumed(self, size: int) -> None:
        """The reader is done with `size` bytes of DATA: gives them back to both windows."""
        connection = self.connection
        unread = connection.stream_window - self.room - self.owed
        if size > unread:
            size = unread
        self.owed += size
        if self.remote_open and self.owed * 2 >= connection.stream_window:
            self.give_back()
        connection.owed += size
        if connection.owed >= connection.owed_limit:
            connection.give_back()

    def give_back(self) -> None:
        """WINDOW_UPDATE for all that the stream owes."""
        if self.owed and self.remote_open:
            self.connection.outgoing.append(window_update(self.id, self.owed))
            self.room += self.owed
            self.owed = 0

    def release(self) -> None:
        """Nobody will read what is unread: give it back to the connection's window."""
        self.consumed(self.connection.stream_window)

    def die(self) -> None:
        """The stream is over before its time: drop what is queued and release what was not read."""
        self.dead = True
        self.local_open = self.remote_open = False
        self.outbox = None
        self.receiver = NOBODY
        if not self.connection.closed:
            self.release()

    def flushed(self, outbox: Outbox) -> None:
        """The queue is empty: what ends the stream may follow."""
        self.outbox = None
        if outbox.tail:
            self._write_headers(outbox.tail, True)
        if outbox.tail is not None:
            self._end()

    def _may_send(self) -> bool:
        if not self.id and not self.dead:
            self.connection.begin(self)
        if self.dead:
            return False
        if not self.local_open:
            raise RuntimeError(f"stream {self.id}: sent after its end")
        return True

    def _queue(self, data: Buffer, end_stream: bool) -> None:
        if self.outbox is None:
            self.outbox = Outbox()
        self.outbox.put(data)
        if end_stream:
            self.outbox.tail = b""
            self.local_open = False
        self.connection.sending.push(self)

    def _write_headers(self, block: bytes, end_stream: bool) -> None:
        connection = self.connection
        most = connection.header_room
        if most < 0:
            block = connection.first_block(block)
            most = connection.header_room
        flags = END_STREAM if end_stream else 0
        if len(block) <= most:
            connection.outgoing.append(_pack(len(block) << 8 | HEADERS, flags | END_HEADERS, self.id) + block)
            return
        kind = HEADERS
        for at in range(0, len(block), most):
            piece = block[at : at + most]
            flags |= END_HEADERS if at + most >= len(block) else 0
            connection.outgoing.append(_pack(len(piece) << 8 | kind, flags, self.id) + piece)
            kind, flags = CONTINUATION, 0

    def _end(self) -> None:
        self.local_open = False
        if not self.remote_open:
            self.connection.finished(self)
            self.receiver = NOBODY  # it has the stream: a cycle that would wait for the garbage collector

    def __repr__(self) -> str:
        state = "dead" if self.dead else f"local_open={self.local_open}, remote_open={self.remote_open}"
        return f"Stream({self.id}, {state}, queued={self.queued})"


def _message(stream: int, headers: bytes, data: Buffer, trailers: bytes | None) -> bytes:
    size = len(data)
    if trailers is None:
        if not size:
            return _pack(len(headers) << 8 | HEADERS, _HEADERS_ENDED, stream) + headers
        return b"".join(
            (
                _pack(len(headers) << 8 | HEADERS, END_HEADERS, stream),
                headers,
                _pack(size << 8 | DATA, END_STREAM, stream),
                data,
            )
        )
    return b"".join(
        (
            _pack(len(headers) << 8 | HEADERS, END_HEADERS, stream),
            headers,
            _pack(size << 8 | DATA, 0, stream) if size else b"",
            data,
            _pack(len(trailers) << 8 | HEADERS, _HEADERS_ENDED, stream),
            trailers,
        )
    )
