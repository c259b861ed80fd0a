"""The gRPC health protocol, grpc.health.v1: what a client asks about, and what it is told.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. "" asks about the whole server.
"""

from __future__ import annotations

from collections.abc import Container

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from transcoding.status import Code, GatewayError, invalid

SERVICE = "grpc.health.v1.Health"


def _reply(status: health_pb2.HealthCheckResponse.ServingStatus) -> bytes:
    message: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return message


SERVING = _reply(health_pb2.HealthCheckResponse.SERVING)
NOT_SERVING = _reply(health_pb2.HealthCheckResponse.NOT_SERVING)
SERVICE_UNKNOWN = _reply(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)


def service_of(request: bytes) -> str:
    """The service that a `HealthCheckRequest` asks about. Raises `GatewayError` INVALID_ARGUMENT for anything else."""
    try:
        service: str = health_pb2.HealthCheckRequest.FromString(request).service
    except DecodeError:
        raise invalid("malformed protobuf message") from None
    return service


def check(request: bytes, services: Container[str], serving: bool) -> bytes:
    """The reply to `Check`: `serving` for the whole server and for each of `services`.

    Raises `GatewayError` NOT_FOUND for another service, as the protocol says.
    """
    service = service_of(request)
    if service and service not in services:
        raise GatewayError(Code.NOT_FOUND, f"unknown service: '{service}'")
    return status(serving)


def watched(request: bytes, services: Container[str], serving: bool) -> bytes:
    """What `Watch` says now. An unknown service is SERVICE_UNKNOWN there, since it may appear later."""
    service = service_of(request)
    if service and service not in services:
        return SERVICE_UNKNOWN
    return status(serving)


def status(serving: bool) -> bytes:
    return SERVING if serving else NOT_SERVING
