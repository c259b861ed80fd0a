"""Triton's REST API beside inference, as gRPC calls: for each operation the request to send and the JSON to answer.

A REST request becomes the protobuf message of one gRPC method, and the reply becomes what Triton 2.51's own REST front
end (http_server.cc) prints: the same keys in the same order, numbers as numbers. Unlike there, a malformed body is the
client's mistake: INVALID_ARGUMENT, HTTP 400, with the field named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from transcoding.dialects import metadata_json, repository_json, settings_json, statistics_json
from transcoding.dialects import shared_memory_json as shm
from transcoding.dialects.model_config_json import config_json
from transcoding.dialects.oip_messages import MessageClass, message_class
from transcoding.dialects.oip_paths import Match
from transcoding.dialects.repository_json import check_load
from transcoding.message import Content
from transcoding.methods import BY_NAME, ApiClass, Method
from transcoding.status import Code, Fault, GatewayError

__all__ = ["OPERATIONS", "Operation", "check_load"]

Fill = Callable[[Any, Match, Content], None]
Body = Callable[[Any], Any]
Row = tuple[str, str, Fill, Body]


@dataclass(frozen=True, slots=True)
class Operation:
    """One REST operation: the gRPC `method` that does it, its messages, and `fill` and `body` between them and REST."""

    name: str
    method: Method
    request: MessageClass
    reply: MessageClass
    fill: Fill
    body: Body

    @property
    def api(self) -> ApiClass:
        return self.method.api

    def encode(self, match: Match, body: Content) -> bytes:
        """The request message. Raises `GatewayError` 400 that names the field of a body that does not fit."""
        request = self.request()
        self.fill(request, match, body)
        message: bytes = request.SerializeToString()
        return message

    def render(self, reply: bytes) -> bytes:
        """The JSON of a reply message, b"" where Triton answers with an empty body.

        Raises `GatewayError`: HTTP 400 for "not live" and "not ready", INTERNAL for a reply that does not parse.
        """
        try:
            value = self.body(self.reply.FromString(reply))
        except DecodeError:
            text = f"the worker's {self.method.name} reply is not the protobuf message that it should be"
            raise GatewayError(Code.INTERNAL, text, fault=Fault.WORKER, executed=True) from None
        return b"" if value is None else orjson.dumps(value)


def _nothing(request: Any, match: Match, body: Content) -> None:
    """A request without fields."""


def _model(request: Any, match: Match, body: Content) -> None:
    """A request that names a model, or none for all, and a version, or none."""
    request.name, request.version = match.model, match.version


def _flag(field: str, error: str) -> Body:
    """An empty answer when the reply's `field` is set, else HTTP 400, Triton's status for it."""

    def body(reply: Any) -> None:
        if not getattr(reply, field):
            raise GatewayError(Code.UNAVAILABLE, error, http_status=400, fault=Fault.BUSY)

    return body


def _done(reply: Any) -> None:
    """Triton answers 200 without a body."""


def _config(reply: Any) -> dict[str, Any]:
    return config_json(reply.config)


_ROWS: tuple[Row, ...] = (
    ("server_live", "ServerLive", _nothing, _flag("live", "Server not live")),
    ("server_ready", "ServerReady", _nothing, _flag("ready", "Server not ready")),
    ("server_metadata", "ServerMetadata", _nothing, metadata_json.server_metadata),
    ("model_ready", "ModelReady", _model, _flag("ready", "Model version not ready")),
    ("model_metadata", "ModelMetadata", _model, metadata_json.model_metadata),
    ("model_config", "ModelConfig", _model, _config),
    ("model_statistics", "ModelStatistics", _model, statistics_json.statistics),
    ("repository_index", "RepositoryIndex", repository_json.fill_index, repository_json.index),
    ("model_load", "RepositoryModelLoad", repository_json.fill_load, _done),
    ("model_unload", "RepositoryModelUnload", repository_json.fill_unload, _done),
    ("trace_settings", "TraceSetting", settings_json.fill_trace, settings_json.trace),
    ("trace_update", "TraceSetting", settings_json.fill_trace_update, settings_json.trace),
    ("log_settings", "LogSettings", _nothing, settings_json.log),
    ("log_update", "LogSettings", settings_json.fill_log_update, settings_json.log),
    ("system_shared_memory_status", "SystemSharedMemoryStatus", shm.fill_region, shm.system_status),
    ("system_shared_memory_register", "SystemSharedMemoryRegister", shm.fill_register_system, _done),
    ("system_shared_memory_unregister", "SystemSharedMemoryUnregister", shm.fill_region, _done),
    ("cuda_shared_memory_status", "CudaSharedMemoryStatus", shm.fill_region, shm.cuda_status),
    ("cuda_shared_memory_register", "CudaSharedMemoryRegister", shm.fill_register_cuda, _done),
    ("cuda_shared_memory_unregister", "CudaSharedMemoryUnregister", shm.fill_region, _done),
)


def _operation(name: str, method: str, fill: Fill, body: Body) -> Operation:
    request, reply = message_class(f"{method}Request"), message_class(f"{method}Response")
    return Operation(name, BY_NAME[method], request, reply, fill, body)


OPERATIONS: dict[str, Operation] = {row[0]: _operation(*row) for row in _ROWS}
"""By the name that `oip_paths.Match.operation` gives; inference has its own dialects."""
