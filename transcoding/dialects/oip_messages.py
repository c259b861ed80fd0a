"""The protobuf messages of `inference.GRPCInferenceService` by name; generated code has no types to check."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2

MessageClass = type[Any]


def message_class(name: str) -> MessageClass:
    """The class of a message of `grpc_service.proto`, e.g. `ModelReadyRequest`."""
    found: MessageClass = getattr(service_pb2, name)
    return found
