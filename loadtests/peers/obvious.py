"""The obvious gateway in Python, aiohttp in front and grpc.aio behind: `loadtests/obvious_build.py`."""

from __future__ import annotations

import sys
from importlib.metadata import version

from loadtests.peers.base import ProcessPeer


class Obvious(ProcessPeer):
    """REST to gRPC with the usual libraries."""

    name = "obvious"
    label = "aiohttp + grpc.aio"
    dialects = ("oip_json", "oip_binary")

    @classmethod
    def version(cls) -> str | None:
        """The two libraries' versions."""
        return f"aiohttp {version('aiohttp')}, grpcio {version('grpcio')}"

    def command(self) -> list[str]:
        """It needs no configuration."""
        listen, backend = str(self.address), str(self.backend.grpc)
        return [sys.executable, "-m", "loadtests.obvious_build", "--listen", listen, "--backend", backend]
