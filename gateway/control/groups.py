"""Which gateways share a pool: those where its name, its picker and where its endpoints come from are the same.

So a gateway with other endpoints, or one that is being rolled out with more of them, takes no share from the others.
Tritons that a gateway runs itself are shared with nobody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import blake2b

from config.addresses import UNIX
from config.pools import Pool


def groups_of(pools: Mapping[str, Pool]) -> dict[str, str]:
    """What the gateways that share each pool have in common and no others; none for Tritons of the gateway's own."""
    return {name: f"{name}.{_digest(pool)}" for name, pool in pools.items() if pool.managed is None}


def _digest(pool: Pool) -> str:
    """Of the picker and of where the endpoints come from. The same address of this machine is somewhere else on
    another one."""
    found = pool.discover
    source = [found.dns, found.srv, found.nameserver] if found is not None else []
    addresses = sorted((endpoint.address, endpoint.weight) for endpoint in pool.endpoints)
    names = [address for address, _ in addresses] + [each for each in source[:1] if each is not None]
    here = network() if any(map(is_local, names)) else ""
    words = json.dumps([pool.pick.kind, addresses, source, here])
    return blake2b(words.encode(), digest_size=6).hexdigest()


def is_local(address: str) -> bool:
    """Is this an address that each network has for itself?"""
    host = address.rpartition(":")[0].strip("[]")
    return address.startswith(UNIX) or host in ("localhost", "::1") or host.startswith("127.")


def network() -> str:
    """The network namespace that this process is in, among those of all machines (network_namespaces(7))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.stat('/proc/self/ns/net').st_ino}"
