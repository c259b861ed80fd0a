"""Trace and log settings."""

from __future__ import annotations

import orjson
import pytest
from tritonclient.grpc import service_pb2 as pb

from transcoding.dialects.oip_management import OPERATIONS
from transcoding.dialects.oip_paths import Match
from transcoding.status import GatewayError

TRACE = Match("trace_update", "trace", "m")
LOG = Match("log_update", "logging")


def trace_update(body: object) -> dict[str, list[str]]:
    request = pb.TraceSettingRequest.FromString(OPERATIONS["trace_update"].encode(TRACE, orjson.dumps(body)))
    assert request.model_name == "m"
    return {key: list(setting.value) for key, setting in request.settings.items()}


def test_trace_update() -> None:
    body = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "7", "trace_count": None, "unknown": 1}
    expected = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": ["7"], "trace_count": []}
    assert trace_update(body) == expected
    assert trace_update({"trace_level": None}) == {"trace_level": []}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"trace_rate": 7}, "trace_rate: expected a string, got 7"),
        ({"trace_level": "OFF"}, "trace_level: expected an array of strings or null, got a string"),
        ({"trace_level": ["OFF", 1]}, "trace_level[1]: expected a string, got 1"),
    ],
)
def test_trace_mistakes_are_named(body: object, text: str) -> None:
    with pytest.raises(GatewayError) as raised:
        trace_update(body)
    assert (raised.value.http_status, raised.value.message) == (400, text)


def test_trace_settings_read() -> None:
    request = pb.TraceSettingRequest.FromString(OPERATIONS["trace_settings"].encode(TRACE, b"ignored"))
    assert (request.model_name, len(request.settings)) == ("m", 0)


def test_trace_reply_in_tritons_order() -> None:
    reply = pb.TraceSettingResponse()
    for key in ("zeta", "trace_mode", "trace_file", "log_frequency", "trace_count", "trace_rate", "trace_level"):
        reply.settings[key].value.append({"trace_level": "OFF", "trace_file": ""}.get(key, "1"))
    assert OPERATIONS["trace_settings"].render(reply.SerializeToString()) == (
        b'{"trace_level":["OFF"],"trace_rate":"1","trace_count":"1","log_frequency":"1","trace_file":"",'
        b'"trace_mode":"1","zeta":"1"}'
    )


def log_update(body: object) -> pb.LogSettingsRequest:
    return pb.LogSettingsRequest.FromString(OPERATIONS["log_update"].encode(LOG, orjson.dumps(body)))


def test_log_update() -> None:
    request = log_update({"log_info": False, "log_verbose_level": 2, "log_format": "ISO8601", "log_error": None})
    assert set(request.settings) == {"log_info", "log_verbose_level", "log_format"}
    assert request.settings["log_info"].WhichOneof("parameter_choice") == "bool_param"
    assert request.settings["log_verbose_level"].uint32_param == 2
    assert request.settings["log_format"].string_param == "ISO8601"
    assert log_update({"log_file": "x"}).settings["log_file"].string_param == "x", "for Triton to refuse"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"log_info": 1}, "log_info: expected a boolean, got 1"),
        ({"log_verbose_level": 2**31}, "log_verbose_level: expected an integer from 0 to 2147483647, got 2147483648"),
        ({"log_format": "zzz"}, "log_format: expected one of default, ISO8601, got 'zzz'"),
        ({"log_file": 1}, "log_file: expected a string, got 1"),
    ],
)
def test_log_mistakes_are_named(body: object, text: str) -> None:
    with pytest.raises(GatewayError) as raised:
        log_update(body)
    assert (raised.value.http_status, raised.value.message) == (400, text)


def test_an_update_needs_a_body() -> None:
    for name, match in (("trace_update", TRACE), ("log_update", LOG)):
        with pytest.raises(GatewayError, match="body: expected a JSON object, got nothing"):
            OPERATIONS[name].encode(match, b"")


def test_log_reply_in_tritons_order_and_types() -> None:
    reply = pb.LogSettingsResponse()
    reply.settings["log_format"].string_param = "default"
    reply.settings["log_verbose_level"].uint32_param = 0
    for key in ("log_error", "log_warning", "log_info"):
        reply.settings[key].bool_param = True
    reply.settings["log_file"].string_param = ""
    assert OPERATIONS["log_settings"].render(reply.SerializeToString()) == (
        b'{"log_file":"","log_info":true,"log_warning":true,"log_error":true,"log_verbose_level":0,"log_format":"default"}'
    )
