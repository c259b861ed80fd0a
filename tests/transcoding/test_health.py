"""The health protocol: states, messages, and what is unknown."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outcome import outcome
from transcoding.health import SERVICES, Serving, check_reply, requested_service
from transcoding.status import Code, GatewayError


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_known_services(service: str) -> None:
    assert requested_service(pb.HealthCheckRequest(service=service).SerializeToString()) == service
    for watch in (False, True):
        assert SERVICES.state(service, True, watch) == Serving.SERVING
        assert SERVICES.state(service, False, watch) == Serving.NOT_SERVING


def test_an_unknown_service() -> None:
    with pytest.raises(GatewayError, match="unknown service: 'bogus'") as raised:
        SERVICES.state("bogus", True)
    assert raised.value.code == Code.NOT_FOUND
    assert SERVICES.state("bogus", True, watch=True) == Serving.SERVICE_UNKNOWN


@pytest.mark.parametrize("state", Serving)
def test_replies(state: Serving) -> None:
    reply = pb.HealthCheckResponse.FromString(check_reply(state))
    assert pb.HealthCheckResponse.ServingStatus.Name(reply.status) == state.name


@given(st.binary(max_size=40))
def test_any_bytes_give_a_service_or_a_gateway_error(message: bytes) -> None:
    service = outcome(requested_service, message)
    assert isinstance(service, str) or service.code == Code.INVALID_ARGUMENT
