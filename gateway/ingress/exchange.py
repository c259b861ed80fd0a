"""One HTTP exchange, whatever version of HTTP carried it: the request as REST sees it and the response it gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from transcoding.message import Buffer

JSON = b"application/json"
OCTETS = b"application/octet-stream"
EVENTS = b"text/event-stream; charset=utf-8"

Field = tuple[bytes, bytes]


class Request:
    """A whole request: the body has arrived. `headers` has lower-case names; repeated ones are joined with a comma."""

    __slots__ = ("body", "headers", "method", "target")

    def __init__(self, method: bytes, target: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body


class Response:
    """Status, fields beyond content-type and content-length, and a body: whole (`body`) or in pieces (`stream`)."""

    __slots__ = ("body", "content_type", "fields", "status", "stream")

    def __init__(
        self,
        status: int,
        body: Sequence[Buffer] = (),
        content_type: bytes = JSON,
        fields: Sequence[Field] = (),
        stream: AsyncIterator[bytes] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.fields = fields
        self.stream = stream


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
