"""The table of REST operations, and that any body or reply gives a result or a GatewayError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.support.outcome import outcome
from transcoding.dialects.oip_management import OPERATIONS, Operation
from transcoding.dialects.oip_paths import Match
from transcoding.methods import BY_NAME
from transcoding.status import Fault, GatewayError

KEYS = (
    "parameters config ready key offset byte_size raw_handle b64 device_id trace_level trace_rate log_info "
    "log_verbose_level log_format log_file unload_dependents file:a x"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_messages_are_those_of_the_method(operation: Operation) -> None:
    method = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[operation.method.name]
    assert operation.request.DESCRIPTOR is method.input_type
    assert operation.reply.DESCRIPTOR is method.output_type
    assert operation.method is BY_NAME[method.name]


@pytest.mark.parametrize("name", ["model_ready", "model_metadata", "model_config", "model_statistics"])
def test_model_and_version_are_named(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation.method.target(operation.encode(Match(name, operation.api, "m", "2"), b"")) == ("m", "2")


@pytest.mark.parametrize(
    ("name", "reply", "text"),
    [
        ("server_live", pb.ServerLiveResponse(), "Server not live"),
        ("server_ready", pb.ServerReadyResponse(), "Server not ready"),
        ("model_ready", pb.ModelReadyResponse(), "Model version not ready"),
    ],
)
def test_not_ready_is_400_as_in_triton(name: str, reply: pb.ModelReadyResponse, text: str) -> None:
    with pytest.raises(GatewayError) as raised:
        OPERATIONS[name].render(reply.SerializeToString())
    assert (raised.value.http_status, raised.value.message) == (400, text)


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("server_live", pb.ServerLiveResponse(live=True)),
        ("server_ready", pb.ServerReadyResponse(ready=True)),
        ("model_ready", pb.ModelReadyResponse(ready=True)),
        ("model_load", pb.RepositoryModelLoadResponse()),
    ],
)
def test_an_empty_body_means_yes(name: str, reply: pb.ModelReadyResponse) -> None:
    assert OPERATIONS[name].render(reply.SerializeToString()) == b""


def test_config_is_printed_without_its_wrapper() -> None:
    reply = pb.ModelConfigResponse()
    reply.config.name = "m"
    assert OPERATIONS["model_config"].render(reply.SerializeToString()).startswith(b'{"name":"m","platform":""')


def test_a_reply_that_is_none_is_the_workers_fault() -> None:
    with pytest.raises(GatewayError) as raised:
        OPERATIONS["model_metadata"].render(b"\xff")
    assert (raised.value.http_status, raised.value.fault) == (500, Fault.WORKER)


@given(st.sampled_from(sorted(OPERATIONS)), JSON.map(lambda value: json.dumps(value).encode()))
def test_any_json_gives_a_message_or_a_client_error(name: str, body: bytes) -> None:
    encode_or_400(name, body)


@given(st.sampled_from(sorted(OPERATIONS)), st.binary(max_size=60))
def test_any_body_gives_a_message_or_a_client_error(name: str, body: bytes) -> None:
    encode_or_400(name, body)


def encode_or_400(name: str, body: bytes) -> None:
    operation = OPERATIONS[name]
    message = outcome(operation.encode, Match(name, operation.api, "m", "1", "r"), body)
    if isinstance(message, GatewayError):
        assert message.http_status == 400
    else:
        operation.request.FromString(message)


@given(st.sampled_from(sorted(OPERATIONS)), st.binary(max_size=60))
def test_any_reply_gives_json_or_an_error(name: str, reply: bytes) -> None:
    result = outcome(OPERATIONS[name].render, reply)
    assert isinstance(result, bytes) or result.http_status in (400, 500)
