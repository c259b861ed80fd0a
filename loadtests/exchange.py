"""One request with the answer it must get: what load generators send and what is checked before anything is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Dialect = Literal["oip_json", "oip_binary", "proto_json", "grpc"]
Headers = tuple[tuple[str, str], ...]


class WrongAnswerError(RuntimeError):
    """A peer answered, but not what the model computes."""


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Exchange:
    """A POST and its check. For gRPC, `body` and the answer are one length-prefixed message.

    `verify(headers, body)` takes a reply's headers (names in lower case) and body; it raises WrongAnswerError.
    """

    dialect: Dialect
    path: str
    headers: Headers
    body: bytes
    verify: Callable[[dict[str, str], bytes], None]

    @property
    def grpc(self) -> bool:
        """True when this goes over HTTP/2 as gRPC, False for HTTP/1.1."""
        return self.dialect == "grpc"
