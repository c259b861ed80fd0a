"""What control asks a Triton over gRPC: `ServerLive`, `RepositoryIndex`, and how a model executes.

`ServerReady` is not asked: Triton 2.51 answers false while any model unloads and, after a failed load, until that model
loads. Liveness and the state of each model decide.
"""

from __future__ import annotations

import logging
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway.control.ensembles import read_ensemble
from gateway.control.inventory import Poll
from gateway.control.liveness import NotLive, Probe
from gateway.control.load import Shape
from gateway.world import ModelVersion

INDEX_LIMIT = 64 * 1024 * 1024
"""Bytes of an index: 10,000 models take about 1 MB, more with long reasons."""

_messages: Any = service_pb2  # generated at import, so that a type checker cannot see them
_services: Any = service_pb2_grpc
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the back-off of the one that failed
    ("grpc.max_receive_message_length", INDEX_LIMIT),
)

NOT_READY = "Server not ready"
"""What `RepositoryIndex` says from SIGTERM on (Triton core, server.cc)."""

_log = logging.getLogger(__name__)


class TritonClient:
    """Polls the Triton at `address` (host:port). A channel that failed is replaced, so that neither its back-off nor an
    old address of the name delays the next poll."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None
        self._made: Any = None
        self._probe = Probe(address)

    async def poll(self, timeout: float) -> Poll:
        """Is it live, and what has it? Each call within `timeout` seconds. Never raises for what the server does or
        fails to do."""
        live = await self.live(timeout)
        return await self._index(self._stub(), timeout) if live.live else live

    async def live(self, timeout: float) -> Poll:
        """The same without the index."""
        try:
            renewed = await self._probe.ask(timeout)
        except NotLive as error:
            await self.close()
            return Poll(live=False, reason=f"ServerLive: {error}", told=error.told)
        return Poll(live=True, renewed=renewed)

    async def shape(self, model: str, version: str, timeout: float) -> Shape | None:
        """How a model version executes; None if the server does not say."""
        request = _messages.ModelConfigRequest(name=model, version=version)
        try:
            answer = await self._stub().ModelConfig(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            _log.debug("the configuration of %s is not known: %s", model, _reason("ModelConfig", error, timeout))
            return None
        return read_ensemble(answer.config) if answer.config.ensemble_scheduling.step else read_shape(answer.config)

    def _stub(self) -> Any:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
            self._made = _services.GRPCInferenceServiceStub(self._channel)
        return self._made

    async def _index(self, stub: Any, timeout: float) -> Poll:
        try:
            answer = await stub.RepositoryIndex(_messages.RepositoryIndexRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            leaving = error.code() is grpc.StatusCode.UNAVAILABLE and error.details() == NOT_READY
            return Poll(live=not leaving, reason=_reason("RepositoryIndex", error, timeout), told=leaving)
        models = read_index(answer)
        used = None
        try:
            statistics = await stub.ModelStatistics(_messages.ModelStatisticsRequest(), timeout=timeout)
            add_unlisted(models, statistics)
            used = read_use(statistics)
        except grpc.aio.AioRpcError as error:
            _log.debug("the index alone is known: %s", _reason("ModelStatistics", error, timeout))
        return Poll(live=True, models=models, used=used)

    async def close(self) -> None:
        """Close the connections, if any. The next poll opens others."""
        self._probe.close()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


def read_index(answer: Any) -> dict[str, dict[str, ModelVersion]]:
    """Model to version to state, from a `RepositoryIndexResponse`.

    A model that was never loaded is listed without version and state.
    """
    models: dict[str, dict[str, ModelVersion]] = {}
    for entry in answer.models:
        versions = models.setdefault(entry.name, {})
        if entry.version:
            versions[entry.version] = ModelVersion(entry.state or "UNKNOWN", entry.reason)
    return models


def read_shape(config: Any) -> Shape:
    """Of a `ModelConfig`. A group has its count on each of its GPUs, if it is on GPUs; passive ones execute nothing."""
    active = [group for group in config.instance_group if not group.passive]
    instances = sum(int(group.count) * max(1, len(group.gpus)) for group in active)
    return Shape(max(1, instances), bool(config.model_transaction_policy.decoupled))


def add_unlisted(models: dict[str, dict[str, ModelVersion]], statistics: Any) -> None:
    """Add the versions that a `ModelStatisticsResponse` has, which are those that are ready, to what the index listed.

    The index leaves out a model that exists only by the files of its load request.
    """
    for entry in statistics.model_stats:
        models.setdefault(entry.name, {}).setdefault(entry.version, ModelVersion("READY"))


def read_use(statistics: Any) -> dict[tuple[str, str], tuple[int, ...]]:
    """How often each version of a `ModelStatisticsResponse` was asked since it was loaded, and how long that took in
    all, in nanoseconds: after another load these begin at 0, unlike the counters of Triton's metrics page."""
    return {
        (entry.name, entry.version): (
            int(entry.inference_stats.success.count),
            int(entry.inference_stats.fail.count),
            int(entry.inference_stats.success.ns),
            int(entry.inference_stats.queue.ns),
        )
        for entry in statistics.model_stats
    }


def _reason(call: str, error: grpc.aio.AioRpcError, timeout: float) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{call}: no answer within {timeout:g} s"
    return f"{call}: {error.code().name}: {error.details()}"
