"""Loads and unloads models of one Triton, over gRPC: its HTTP front end blocks other connections meanwhile.

An override of the configuration bears a mark among the model's own parameters, so that any control can read later what
was loaded: Triton keeps an override through a plain reload, and tells it nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway.control.triton import CHANNEL_OPTIONS, read_index
from gateway.world import ModelVersion
from transcoding.dialects.repository_json import check_load
from transcoding.status import GatewayError

MARK = "penstock_override"
REASON_LETTERS = 1000
ALIVE_TIMEOUT = 1.0
_messages: Any = service_pb2  # generated at import, so that a type checker cannot see them
_services: Any = service_pb2_grpc


class ModelError(Exception):
    """The Triton did not do it. The text says why."""


class Unreachable(ModelError):
    """The Triton did not answer, and perhaps did not live through it."""


class Used(NamedTuple):
    """How often a model was asked, since it was loaded, and when last, in seconds since 1970; 0 for never."""

    times: int
    last: float


class ModelClient:
    """One Triton, at `address`. All methods raise `ModelError`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None

    async def load(self, model: str, config: str | None, timeout: float) -> None:
        """Return when it is READY, with `config` (JSON) in place of its own configuration. What would harm a Triton is
        not sent."""
        request = _messages.RepositoryModelLoadRequest(model_name=model)
        if config is not None:
            request.parameters["config"].string_param = marked(config)
        try:
            check_load(request.SerializeToString())
        except GatewayError as error:
            raise ModelError(error.message) from error
        await self._ask("RepositoryModelLoad", request, timeout)

    async def unload(self, model: str, timeout: float) -> None:
        """Have it unloaded; it is on its way when this returns."""
        await self._ask("RepositoryModelUnload", _messages.RepositoryModelUnloadRequest(model_name=model), timeout)

    async def index(self, timeout: float) -> dict[str, dict[str, ModelVersion]]:
        """Model to version to state, as of now."""
        return read_index(await self._ask("RepositoryIndex", _messages.RepositoryIndexRequest(), timeout))

    async def mark(self, model: str, timeout: float) -> str:
        """`mark_of` the override that it was loaded with; "" for none of ours."""
        answer = await self._ask("ModelConfig", _messages.ModelConfigRequest(name=model), timeout)
        parameters = answer.config.parameters
        return str(parameters[MARK].string_value) if MARK in parameters else ""

    async def used(self, timeout: float) -> dict[str, Used]:
        """How each model that is READY was used; of several versions, all together."""
        answer = await self._ask("ModelStatistics", _messages.ModelStatisticsRequest(), timeout)
        found: dict[str, Used] = {}
        for entry in answer.model_stats:
            before = found.get(entry.name, Used(0, 0.0))
            last = max(before.last, entry.last_inference / 1000)
            found[entry.name] = Used(before.times + int(entry.inference_count), last)
        return found

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _ask(self, call: str, request: Any, timeout: float) -> Any:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
        stub = _services.GRPCInferenceServiceStub(self._channel)
        try:
            return await getattr(stub, call)(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and not await self._answers():
                await self.close()
                raise Unreachable(f"{call}: {self._address} does not answer: {error.details()}") from error
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ModelError(f"{call}: no answer within {timeout:g} s") from error
            raise ModelError((error.details() or error.code().name).strip()[:REASON_LETTERS]) from error

    async def _answers(self) -> bool:
        """Triton has UNAVAILABLE for some of its own refusals, too."""
        stub = _services.GRPCInferenceServiceStub(self._channel)
        try:
            await stub.ServerLive(_messages.ServerLiveRequest(), timeout=ALIVE_TIMEOUT)
        except grpc.aio.AioRpcError:
            return False
        return True


def mark_of(config: str | None) -> str:
    """What a model that was loaded with this override bears; "" for none."""
    return hashlib.sha256(config.encode()).hexdigest()[:16] if config is not None else ""


def marked(config: str) -> str:
    """The override with its mark. Raises `ModelError` if it is no JSON object."""
    try:
        fields = json.loads(config)
    except ValueError as error:
        raise ModelError(f"its configuration is not JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("parameters", {}), dict):
        raise ModelError("its configuration is not a JSON object")
    fields["parameters"] = {**fields.get("parameters", {}), MARK: {"string_value": mark_of(config)}}
    return json.dumps(fields)
