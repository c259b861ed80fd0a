"""The table of gRPC methods against the protos, and the protobuf scanner against protobuf."""

from __future__ import annotations

from typing import get_args

import pytest
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from config import schema
from tests.support.outcome import outcome
from transcoding import methods
from transcoding.methods import BY_NAME, METHODS, has_field, string_fields
from transcoding.status import Code, GatewayError

GRPC_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def test_every_method_of_the_services_is_in_the_table() -> None:
    assert set(BY_NAME) == {method.name for method in GRPC_SERVICE.methods}
    health = health_pb2.DESCRIPTOR.services_by_name["Health"].methods
    assert {f"/grpc.health.v1.Health/{name}".encode() for name in ("Check", "Watch")} <= set(METHODS)
    assert {"Check", "Watch"} <= {method.name for method in health}
    assert METHODS[b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"].kind == "reflection"
    assert METHODS[b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"].kind == "reflection"


def test_the_api_classes_are_those_of_the_configuration() -> None:
    assert get_args(methods.ApiClass) == get_args(schema.ApiClass)


@pytest.mark.parametrize("method", BY_NAME.values(), ids=BY_NAME)
def test_field_numbers_are_those_of_the_proto(method: methods.Method) -> None:
    fields = GRPC_SERVICE.methods_by_name[method.name].input_type.fields_by_number
    if method.model_field:
        assert fields[method.model_field].name in ("name", "model_name")
    if method.version_field:
        assert fields[method.version_field].name in ("version", "model_version")
    if method.update_field:
        assert fields[method.update_field].name == "settings"
    named = {field.name for field in fields.values()} & {"model_name", "model_version", "version"}
    assert bool(named) == bool(method.model_field), f"{method.name} names a model in {named}"


@pytest.mark.parametrize(
    ("name", "request_", "target"),
    [
        (
            "ModelInfer",
            pb.ModelInferRequest(model_name="m", model_version="3", raw_input_contents=[b"x" * 300]),
            ("m", "3"),
        ),
        ("ModelReady", pb.ModelReadyRequest(name="é"), ("é", "")),
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="m", repository_name="r"), ("m", "")),
        ("TraceSetting", pb.TraceSettingRequest(model_name="m"), ("m", "")),
        ("ServerLive", pb.ServerLiveRequest(), ("", "")),
        ("ModelStatistics", pb.ModelStatisticsRequest(), ("", "")),
    ],
)
def test_target(name: str, request_: object, target: tuple[str, str]) -> None:
    assert BY_NAME[name].target(request_.SerializeToString()) == target  # type: ignore[attr-defined]


def test_the_last_of_repeated_fields_counts() -> None:
    twice = pb.ModelReadyRequest(name="a").SerializeToString() + pb.ModelReadyRequest(name="b").SerializeToString()
    assert BY_NAME["ModelReady"].target(memoryview(twice)) == (pb.ModelReadyRequest.FromString(twice).name, "")


def test_settings_make_a_question_a_change() -> None:
    trace = BY_NAME["TraceSetting"]
    assert trace.answer_for(pb.TraceSettingRequest(model_name="m").SerializeToString()) == "any"
    update = pb.TraceSettingRequest(model_name="m")
    update.settings["trace_rate"].value.append("1")
    assert trace.answer_for(update.SerializeToString()) == "broadcast"
    assert BY_NAME["ModelStatistics"].answer_for(b"") == "merge"


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x05ab",
        b"\x0b",
        b"\x00",
        b"\xff" * 12,
        b"\x0a\x02\xff\xfe",
        b"\x08\x01",
        b"\x09\x01",
        b"\x0d\x01",
        b"\x0a",
    ],
)
def test_what_is_no_protobuf_is_the_clients_mistake(message: bytes) -> None:
    with pytest.raises(GatewayError) as raised:
        string_fields(message, 1)
    assert raised.value.code == Code.INVALID_ARGUMENT


@given(st.binary(max_size=200))
def test_any_bytes_give_strings_or_a_gateway_error(message: bytes) -> None:
    found = outcome(string_fields, message, 1, 2)
    known = outcome(has_field, message, 3)
    assert isinstance(found, list) or found.http_status == 400
    assert isinstance(known, bool) or known.http_status == 400


@given(
    st.text(max_size=30), st.text(max_size=9), st.lists(st.binary(max_size=40), max_size=4), st.integers(0, 2**64 - 1)
)
def test_the_scanner_reads_what_protobuf_writes(name: str, version: str, raw: list[bytes], number: int) -> None:
    request = pb.ModelInferRequest(model_name=name, model_version=version, raw_input_contents=raw)
    request.parameters["p"].uint64_param = number
    message = request.SerializeToString()
    assert string_fields(message, 1, 2) == [name, version]
    assert has_field(message, 7) == bool(raw)
