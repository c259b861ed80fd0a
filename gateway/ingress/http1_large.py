"""A large body of known length: the socket is read straight into it.

llhttp and the pieces it hands out would copy each byte three times; here the kernel writes it where it stays. The
protocol of the connection is exchanged for the time of the body.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from transcoding.message import Buffer

if TYPE_CHECKING:
    from gateway.ingress.http1_reader import Http1Reader

LARGE = 64 * 1024
"""What must be missing of a body, in bytes, to be worth it."""
EARNED = 64
"""How many times what came with the head is made room for at once."""
FIRST, STEP = 256 * 1024, 1024 * 1024
_ZEROS = memoryview(bytes(STEP))


class LargeBody(asyncio.BufferedProtocol):
    """Receives the `length` bytes of one body, of which `start` have come, for a reader.

    What a client announces costs nothing: room is made as it is filled, all at once when what came first is a fair
    part of it.
    """

    def __init__(self, reader: Http1Reader, length: int, start: Buffer) -> None:
        self._reader = reader
        self._length = length
        self._at = len(start)
        self._body = bytearray(length if self._at * EARNED >= length else start)
        self._body[: self._at] = start

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: never beyond the body, so what follows it stays in the socket."""
        body = self._body
        if self._at == len(body):
            size = min(max(self._at, FIRST), STEP, self._length - self._at)
            body += _ZEROS[:size]
        return memoryview(body)[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes more are here."""
        self._at += nbytes
        if self._reader.body_grew(nbytes) and self._at == self._length:
            self._reader.large_body_done(self._body)

    def pause_writing(self) -> None:
        """The client does not read the answers to earlier requests."""
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._reader.resume_writing()

    def eof_received(self) -> bool:
        """A client that stops sending is taken for gone."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone in the middle of the body."""
        self._reader.connection_lost(exc)
