"""REST calls as bytes on a connection of their own, and their answers in parts that can be compared."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Answer:
    """A response: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> bytes:
        """The body before compression."""
        encoding = self.headers.get("content-encoding")
        if encoding == "gzip":
            return gzip.decompress(self.body)
        return zlib.decompress(self.body) if encoding == "deflate" else self.body

    @property
    def json(self) -> Any:
        """The JSON part, None where there is none; numbers keep their type."""
        content = self.content[: int(self.headers[LENGTH])] if LENGTH in self.headers else self.content
        return json.loads(content) if content else None

    @property
    def tail(self) -> bytes:
        """The binary tensors behind the JSON."""
        return self.content[int(self.headers[LENGTH]) :] if LENGTH in self.headers else b""

    @property
    def events(self) -> list[Any]:
        """The JSON of each server-sent event."""
        parts = self.body.decode().split("\n\n")
        assert parts.pop() == "", "an unfinished event"
        return [json.loads(part.removeprefix("data: ")) for part in parts]


def rest(
    address: str,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float = 20,
) -> Answer:
    """One request on a new connection, the path sent as it is."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()
