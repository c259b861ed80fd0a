"""The gRPC health protocol, grpc.health.v1: what a client asks about, and what it is told.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. "" asks about the whole server.
"""

from __future__ import annotations

from enum import IntEnum

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from transcoding.methods import SERVICE
from transcoding.status import Code, GatewayError, invalid


class Serving(IntEnum):
    """`HealthCheckResponse.ServingStatus`."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class Services:
    """The services whose health may be asked for, besides that of the whole server."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(("", *names))

    def state(self, service: str, serving: bool, watch: bool = False) -> Serving:
        """The state of one service when the server is `serving` or not.

        An unknown service is SERVICE_UNKNOWN to those who watch, since it may appear later; for others it raises
        `GatewayError` NOT_FOUND. Both as the protocol says.
        """
        if service in self._names:
            return Serving.SERVING if serving else Serving.NOT_SERVING
        if watch:
            return Serving.SERVICE_UNKNOWN
        raise GatewayError(Code.NOT_FOUND, f"unknown service: '{service}'")


SERVICES = Services(SERVICE)


def requested_service(message: bytes) -> str:
    """The service that a `HealthCheckRequest` asks about. Raises `GatewayError` INVALID_ARGUMENT for anything else."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError:
        raise invalid("malformed protobuf message") from None


def check_reply(state: Serving) -> bytes:
    """The `HealthCheckResponse` of a state."""
    return _REPLIES[state]


def _reply(state: Serving) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=state.name).SerializeToString())


_REPLIES = {state: _reply(state) for state in Serving}
