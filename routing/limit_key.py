"""Whose limit a call counts against: the parts of a call that make a key, compiled once.

The key is text such as `principal=alice:model=resnet50`, the same on every gateway, as stores and shared tables know
it. What is long, or has letters that could be taken for those between parts, stands as a hash, so that no value that a
client chooses is another one's key, and none is longer than 64 letters.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from routing.call import Call

HEADER: Final = "header:"
REMEMBERED: Final = 8192
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.@/+-]{1,64}")
_IPV6_SUBNET: Final = 64

Key = Callable[[Call], str]


def limit_key(parts: Sequence[str]) -> Key:
    """The key of a call, by these parts: names of `config.headers.LIMIT_KEYS`, or `header:NAME`. "all" is the same key
    for all calls. Callers that nobody knows are one caller, and so are those without the header."""
    readers = [_reader(part) for part in parts]
    if len(readers) == 1:
        return readers[0]
    return lambda call: ":".join([read(call) for read in readers])


def needs_view(parts: Sequence[str]) -> bool:
    """Whether the key is made of a request's head."""
    return any(part == "address" or part.startswith(HEADER) for part in parts)


def needs_pool(parts: Sequence[str]) -> bool:
    """Whether the key is made of what is known only when a request's variant is chosen."""
    return "pool" in parts


def names_caller(parts: Sequence[str]) -> bool:
    """Whether the key is made of who calls."""
    return "principal" in parts or "tenant" in parts


def _reader(part: str) -> Key:
    if part.startswith(HEADER):
        name = part.removeprefix(HEADER)
        return _header(name.encode("latin-1"), f"header.{name}")
    return _READERS[part]


def _header(name: bytes, prefix: str) -> Key:
    def read(call: Call) -> str:
        value = call.view.headers.get(name, b"") if call.view is not None else b""
        return named(prefix, value.decode("latin-1"))

    return read


@lru_cache(REMEMBERED)
def named(part: str, value: str) -> str:
    """One part of a key."""
    if value and not _PLAIN.fullmatch(value):
        value = "~" + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{part}={value}"


@lru_cache(REMEMBERED)
def network(address: str) -> str:
    """What one client is taken to have: an IPv4 address, or the /64 of an IPv6 address (RFC 6177 gives a site at least
    that). Text that is no address stays as it is."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> _IPV6_SUBNET << _IPV6_SUBNET, _IPV6_SUBNET)))


def _address(call: Call) -> str:
    return named("address", network(call.view.address)) if call.view is not None else "address="


_READERS: Final[dict[str, Key]] = {
    "all": lambda call: "all",
    "principal": lambda call: named("principal", call.caller.principal),
    "tenant": lambda call: named("tenant", call.caller.tenant),
    "model": lambda call: named("model", call.model),
    "route": lambda call: named("route", call.route),
    "pool": lambda call: named("pool", call.pool),
    "address": _address,
}
