"""The health protocol's messages."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outcome import outcome
from transcoding import health
from transcoding.status import Code, GatewayError

Status = pb.HealthCheckResponse
SERVICES = ("inference.GRPCInferenceService",)


def ask(service: str) -> bytes:
    return pb.HealthCheckRequest(service=service).SerializeToString()


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
@pytest.mark.parametrize(("serving", "status"), [(True, Status.SERVING), (False, Status.NOT_SERVING)])
def test_known_services(service: str, serving: bool, status: int) -> None:
    assert Status.FromString(health.check(ask(service), SERVICES, serving)).status == status
    assert Status.FromString(health.watched(ask(service), SERVICES, serving)).status == status


def test_an_unknown_service() -> None:
    with pytest.raises(GatewayError, match="unknown service: 'bogus'") as raised:
        health.check(ask("bogus"), SERVICES, True)
    assert raised.value.code == Code.NOT_FOUND
    assert Status.FromString(health.watched(ask("bogus"), SERVICES, True)).status == Status.SERVICE_UNKNOWN


def test_the_service_is_in_the_proto() -> None:
    assert pb.DESCRIPTOR.services_by_name["Health"].full_name == health.SERVICE


@given(st.binary(max_size=40))
def test_any_bytes_give_a_service_or_a_gateway_error(request_: bytes) -> None:
    service = outcome(health.service_of, request_)
    assert isinstance(service, str) or service.code == Code.INVALID_ARGUMENT
