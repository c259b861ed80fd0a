"""No proxy at all: the clients talk to Triton's own REST and gRPC front ends."""

from __future__ import annotations

from pathlib import Path

from loadtests.peers.base import Backend, Peer


class _Direct(Peer):
    @property
    def pids(self) -> tuple[int, ...]:
        """None: Triton's own time is counted for every peer alike, as the backend's."""
        return ()

    def start(self) -> None:
        """Triton runs already."""

    def stop(self) -> None:
        """Triton goes on."""


class DirectRest(_Direct):
    """Triton's REST front end."""

    name = "direct_rest"
    label = "Triton REST, no proxy"
    dialects = ("oip_json", "oip_binary")

    def __init__(self, backend: Backend, scratch: Path) -> None:
        super().__init__(backend, scratch)
        self.address = backend.rest


class DirectGrpc(_Direct):
    """Triton's gRPC front end."""

    name = "direct_grpc"
    label = "Triton gRPC, no proxy"
    dialects = ("grpc",)

    def __init__(self, backend: Backend, scratch: Path) -> None:
        super().__init__(backend, scratch)
        self.address = backend.grpc
