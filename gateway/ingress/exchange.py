"""One HTTP exchange, whatever version of HTTP carried it: the request as REST sees it and the response it gives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Protocol

from routing.table import NOTHING_TOLD, Told
from transcoding.message import Buffer, Content

if TYPE_CHECKING:
    from gateway.ingress.listener import Listener
    from gateway.ingress.peer import Peer

JSON = b"application/json"
OCTETS = b"application/octet-stream"
EVENTS = b"text/event-stream; charset=utf-8"

TARGET_BYTES = 8192
"""Longest request target that is read; a longer one is answered 414."""
BODY_BYTES_PER_SECOND = 16 * 1024
"""The least rate of a body: it has the `body` deadline, and as long again whenever it brought so much. What comes fast
buys no more than one such period, so nobody sends most of a large body and then sits on it."""
SMALL_PIECE = 1024
PINNED_SLACK = 64 * 1024
PINNED_FACTOR = 4

Field = tuple[bytes, bytes]


class Memo:
    """What was found out about a head; requests with equal heads share it. `match` is what its target asks for,
    `forwarded` the fields that travel on, by allow-list."""

    __slots__ = ("forwarded", "match")

    def __init__(self) -> None:
        self.match: object = None
        self.forwarded: dict[tuple[str, ...], bytes] = {}


class Request:
    """A whole request: the body has arrived. `headers` has lower-case names; repeated ones, which `repeated` names, are
    joined with a comma.

    `memo` is there when the head was seen before.
    """

    __slots__ = ("body", "headers", "memo", "method", "repeated", "target")

    def __init__(self, method: bytes, target: bytes, headers: dict[bytes, bytes], body: Content) -> None:
        self.memo: Memo | None = None
        self.repeated: tuple[bytes, ...] = ()
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body


class Response:
    """Status, fields beyond content-type and content-length, and a body: whole (`body`) or in pieces (`stream`). `told`
    are the fields that say where it comes from."""

    __slots__ = ("body", "content_type", "fields", "status", "stream", "told")

    def __init__(
        self,
        status: int,
        body: Sequence[Buffer] = (),
        content_type: bytes = JSON,
        fields: Sequence[Field] = (),
        stream: AsyncGenerator[bytes, None] | None = None,
        told: Told = NOTHING_TOLD,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.fields = fields
        self.stream = stream
        self.told = told


class Service(Protocol):
    """What answers requests; `gateway.ingress.rest` has it."""

    async def serve(self, request: Request, listener: Listener, peer: Peer) -> Response:
        """The response to this client; never raises but on cancellation."""
        ...


class Body:
    """A request body while it arrives: memory stays in proportion to `size`, its length in bytes so far.

    Pieces may be views of what a socket read gave. Tiny pieces are gathered, since an object costs more than they hold;
    and when views keep much larger reads alive, which a client can arrange, they are copied.
    """

    __slots__ = ("_owner", "_pieces", "_pinned", "size")

    def __init__(self) -> None:
        self._pieces: list[Buffer | bytearray] = []
        self._owner: object = None
        self._pinned = 0
        self.size = 0

    def add(self, data: Buffer) -> None:
        """Append a piece."""
        size = len(data)
        self.size += size
        pieces = self._pieces
        if size < SMALL_PIECE and pieces:
            last = pieces[-1]
            if type(last) is bytearray:
                last += data
            else:
                pieces.append(bytearray(data))
            return
        pieces.append(data)
        if type(data) is memoryview and data.obj is not self._owner:
            self._owner = data.obj
            self._pinned += data.obj.nbytes if type(data.obj) is memoryview else len(data.obj)  # type: ignore[arg-type]
        if self._pinned > PINNED_FACTOR * self.size + PINNED_SLACK:
            self._compact()

    def _compact(self) -> None:
        self._pieces = [b"".join(self._pieces)]
        self._owner, self._pinned = None, 0

    def take(self) -> bytes:
        """The whole body; nothing of it is kept here."""
        pieces, self._pieces = self._pieces, []
        self._owner, self._pinned, self.size = None, 0, 0
        if len(pieces) == 1 and type(pieces[0]) is bytes:
            return pieces[0]
        return b"".join(pieces)


REASONS: dict[int, bytes] = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
