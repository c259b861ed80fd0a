"""Who is at the other end of a connection: found out once, for all requests that come on it."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from routing.identity import Certificate, certificate_of


class Peer:
    """The other end: its `address` as text, "" for none, and its `certificate`, None without one that was verified."""

    __slots__ = ("address", "certificate")

    def __init__(self, address: str = "", certificate: Certificate | None = None) -> None:
        self.address = address
        self.certificate: Certificate | None = certificate


def peer_of(transport: asyncio.Transport, verified: bool) -> Peer:
    """Of a connection whose handshake is done. Where certificates are not `verified` they say nothing."""
    name = transport.get_extra_info("peername")
    address = name[0] if isinstance(name, tuple) else ""
    tls = transport.get_extra_info("ssl_object") if verified else None
    return Peer(address, None if tls is None else _certificate(cast(ssl.SSLObject, tls)))


def _certificate(tls: ssl.SSLObject) -> Certificate | None:
    der = tls.getpeercert(True)
    said = tls.getpeercert()
    return certificate_of(said, der) if der and said else None
