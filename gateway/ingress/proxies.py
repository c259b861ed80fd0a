"""Whose word counts for the address of a client: that of trusted proxies in front, and nobody else's.

Each proxy appends to `X-Forwarded-For` the address that it was connected from, so the list grows to the right and its
left end is whatever the client wrote. It is read from the right: past the trusted ones, the first address is the
client's. `Forwarded`, `X-Real-IP`, `X-Forwarded-Client-Cert` and the like are never looked at, as a proxy that does not
know one of them lets through what the client wrote there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

FORWARDED_FOR = b"x-forwarded-for"
MOST_HOPS = 32
REMEMBERED = 4096


class Proxies:
    """The networks of the proxies whose word counts, in CIDR notation."""

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(each) for each in networks]
        self._known: dict[str, tuple[str, bool]] = {}

    def client(self, address: str, headers: Mapping[bytes, bytes]) -> str:
        """The address of the client of a request that came from `address`. What is no address ends the list there: the
        last one that counts is then taken for the client's."""
        forwarded = headers.get(FORWARDED_FOR)
        if forwarded is None or not self._look(address)[1]:
            return address
        client = address
        for hop in reversed(forwarded.decode("latin-1").rsplit(",", MOST_HOPS)):
            text, trusted = self._look(hop.strip())
            if not text:
                return client
            client = text
            if not trusted:
                return client
        return client

    def _look(self, hop: str) -> tuple[str, bool]:
        """The address in its usual form, "" for what is none, and whether it is a trusted proxy's."""
        known = self._known.get(hop)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[hop] = self._read(hop) if len(hop) < 64 else ("", False)
        return known

    def _read(self, hop: str) -> tuple[str, bool]:
        try:
            address = ipaddress.ip_address(without_port(hop))
        except ValueError:
            return "", False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return str(address), any(address in network for network in self._networks)


def without_port(hop: str) -> str:
    """The address of `1.2.3.4:80` or `[::1]:80`, as some proxies write it."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
