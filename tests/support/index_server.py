"""A real gRPC server that answers `ServerLive` and `RepositoryIndex` as it is told, faults included."""

from __future__ import annotations

import threading
from concurrent import futures
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

_messages: Any = service_pb2
_services: Any = service_pb2_grpc


class IndexServer(_services.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """`live` and `models` (name, version, state, reason) are the answers; the faults say how it fails instead, in these
    `words`.

    `unlisted` (name, version) are ready without being in the index: they exist by the files of a load request only.
    """

    def __init__(self) -> None:
        self.live = True
        self.models: list[tuple[str, str, str, str]] = [("m", "1", "READY", "")]
        self.unlisted: list[tuple[str, str]] = []
        self.live_fault: grpc.StatusCode | None = None
        self.index_fault: grpc.StatusCode | None = None
        self.words = "told to fail"
        self.hang = threading.Event()
        self.hang.set()
        self.polls = 0
        self.address = ""
        self._server: grpc.Server | None = None

    def start(self, address: str = "127.0.0.1:0") -> str:
        """Listen; returns host:port."""
        server = grpc.server(futures.ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
        _services.add_GRPCInferenceServiceServicer_to_server(self, server)
        self.address = f"127.0.0.1:{server.add_insecure_port(address)}"
        server.start()
        self._server = server
        return self.address

    def stop(self) -> None:
        """Close the port and all connections."""
        self.hang.set()
        if self._server is not None:
            self._server.stop(None).wait(5)
            self._server = None

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.polls += 1
        self.hang.wait(20)
        if self.live_fault is not None:
            context.abort(self.live_fault, self.words)
        return _messages.ServerLiveResponse(live=self.live)

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.index_fault is not None:
            context.abort(self.index_fault, self.words)
        answer = _messages.RepositoryIndexResponse()
        for name, version, state, reason in self.models:
            answer.models.add(name=name, version=version, state=state, reason=reason)
        return answer

    def ModelStatistics(self, request: Any, context: grpc.ServicerContext) -> Any:
        ready = [(name, version) for name, version, state, _ in self.models if state == "READY"]
        answer = _messages.ModelStatisticsResponse()
        for name, version in ready + self.unlisted:
            answer.model_stats.add(name=name, version=version)
        return answer
