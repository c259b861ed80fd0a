"""Penstock itself, as an operator would run it: `penstock serve FILE --workers 1`, all its processes counted."""

from __future__ import annotations

import os
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version

from loadtests.peers.base import ProcessPeer, accepts, free_address, get_status

# Another build to measure, say an installed release: the words before `serve FILE --workers 1`.
COMMAND_VARIABLE = "PENSTOCK_BENCH_COMMAND"

_CONFIG = """
listen:
  - address: {address}
admin: {{address: "{admin}"}}
pools:
  triton:
    kind: triton
    endpoints: ["{backend}"]
routes:
  - name: all
    match: {{model: "*"}}
    to: {{pool: triton}}
"""


class Penstock(ProcessPeer):
    """REST transcoded to gRPC, gRPC passed through, on one port."""

    name = "penstock"
    label = "Penstock"
    dialects = ("oip_json", "oip_binary", "grpc")

    @classmethod
    def version(cls) -> str | None:
        """Of the distribution when it is installed."""
        try:
            return f"penstock {version('penstock')}"
        except PackageNotFoundError:
            return None

    def command(self) -> list[str]:
        """Write gateway.yaml with no policies."""
        self._admin = free_address()
        config = self.scratch / "gateway.yaml"
        config.write_text(_CONFIG.format(address=self.address, admin=self._admin, backend=self.backend.grpc))
        return [*penstock(), "serve", str(config), "--workers", "1"]

    def ready(self) -> bool:
        """The admin port says when every route has somewhere to go; the port for clients must be open as well."""
        return get_status(self._admin, "/readyz") == 200 and accepts(self.address)


def penstock() -> list[str]:
    """The words that call Penstock."""
    other = os.environ.get(COMMAND_VARIABLE)
    return shlex.split(other) if other else [sys.executable, "-m", "gateway"]
