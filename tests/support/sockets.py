"""Whose TCP connections are whose, from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path

ESTABLISHED = "01"


def clients_of(pid: int, port: int) -> set[int]:
    """The ports of the clients whose connections to `port` of this machine this process has accepted."""
    return _clients(port, _sockets(pid))


def unaccepted_clients(port: int) -> set[int]:
    """The same for those that wait to be accepted, by whichever process."""
    return _clients(port, {"0"})


def connected() -> set[int]:
    """The local ports of all connections whose other end has not closed."""
    return {int(local.rpartition(":")[2], 16) for local, _, state, _ in _table() if state == ESTABLISHED}


def _clients(port: int, inodes: set[str]) -> set[int]:
    return {
        int(remote.rpartition(":")[2], 16)
        for local, remote, state, inode in _table()
        if inode in inodes and state == ESTABLISHED and int(local.rpartition(":")[2], 16) == port
    }


def _sockets(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
        except FileNotFoundError:  # it was closed meanwhile
            continue
        if match:
            found.add(match.group(1))
    return found


def _table() -> list[tuple[str, str, str, str]]:
    """gRPC speaks IPv4 on sockets of IPv6, which stand in a table of their own."""
    lines = [line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [(row[1], row[2], row[3], row[9]) for row in map(str.split, lines)]
