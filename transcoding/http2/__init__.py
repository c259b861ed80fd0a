"""HTTP/2 (RFC 9113) for servers and clients, sans-I/O: bytes in, calls on receivers and bytes out."""

from __future__ import annotations

from transcoding.http2.client import ClientConnection
from transcoding.http2.connection import Connection
from transcoding.http2.errors import ErrorCode, ProtocolError
from transcoding.http2.flow import HIGH_WATER, LOW_WATER, Buffer
from transcoding.http2.headers import HeaderBlock
from transcoding.http2.hpack import encode
from transcoding.http2.limits import Http2Limits
from transcoding.http2.server import ServerConnection
from transcoding.http2.stream import Receiver, Stream

__all__ = [
    "HIGH_WATER",
    "LOW_WATER",
    "Buffer",
    "ClientConnection",
    "Connection",
    "ErrorCode",
    "HeaderBlock",
    "Http2Limits",
    "ProtocolError",
    "Receiver",
    "ServerConnection",
    "Stream",
    "encode",
]
