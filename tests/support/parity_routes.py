"""Requests beside inference that Triton and the gateway are asked alike: generate, paths, and the management API."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.support.parity import Case

BAD = "malformed-request"
HUGE = "99999999999999999999"


def generate(
    name: str, body: Any, model: str = "mock_llm", difference: str = "", status: int = 400, **headers: str
) -> list[Case]:
    """The same request to `generate` and `generate_stream`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    return [
        Case(f"{name} ({action})", "POST", f"/v2/models/{model}/{action}", content, fields, difference, status)
        for action in ("generate", "generate_stream")
    ]


def only(action: str, cases: list[Case]) -> list[Case]:
    return [case for case in cases if case.path.endswith(f"/{action}")]


_ONE = {"PROMPT": "hi", "STREAM": False}
_MANY = {"PROMPT": "hi", "STREAM": True}

GENERATE = [
    *generate("plain", _ONE),
    *generate("with an id", {**_ONE, "id": "42"}),
    *generate("id is a number", {**_ONE, "id": 42}, difference=BAD),
    *only("generate_stream", generate("three", {**_MANY, "REPETITION": 3})),
    *only("generate_stream", generate("two by parameters", {**_MANY, "parameters": {"REPETITION": 2}})),
    *only("generate", generate("two for one", {**_MANY, "REPETITION": 2}, difference="generate-one-response")),
    *only("generate", generate("none for one", {**_MANY, "REPETITION": 0}, difference="generate-one-response")),
    *only("generate_stream", generate("none", {**_MANY, "REPETITION": 0})),
    *only("generate", generate("an error at first", {**_MANY, "REPETITION": 0, "FAIL_LAST": True})),
    *only(
        "generate_stream",
        generate("an error at first", {**_MANY, "REPETITION": 0, "FAIL_LAST": True}, difference="stream-first-error"),
    ),
    *only("generate_stream", generate("an error later", {**_MANY, "REPETITION": 2, "FAIL_LAST": True})),
    *generate("an input missing", {"PROMPT": "hi"}),
    *generate("wrong type", {"PROMPT": 1, "STREAM": False}, difference=BAD),
    *generate("object parameter", {**_ONE, "foo": {}}),
    *generate("parameters is no object", {**_ONE, "parameters": 1}, difference=BAD),
    *generate("an input twice", {**_ONE, "parameters": {"PROMPT": "x"}}, difference="error-text"),
    *generate("list of one", {"PROMPT": ["hi"], "STREAM": False}),
    *generate("list of two", {"PROMPT": ["hi", "ho"], "STREAM": False}),
    *generate("optional input", {**_ONE, "input_ids": [1, 2]}),
    *generate("no elements", {**_MANY, "OUTPUT_0_DIM": True}),
    *generate("compressed", _ONE, Content_Encoding="gzip"),
    *generate("accepting gzip", _ONE, Accept_Encoding="gzip"),
    *generate("custom parameters", {"INPUT0": 1, "a": 1, "b": "s", "c": True, "d": 1.5}, "params"),
    *generate(
        "a parameter named as inference's", {"INPUT0": 1, "sequence_id": 7}, "params", "generate-parameters", 200
    ),
    *generate("a reserved parameter", {"INPUT0": 1, "triton_x": 7}, "params", "generate-reserved"),
    *generate("unknown model", _ONE, "nope"),
    *generate("several elements", {"INPUT0": [1.0, 2.5]}, "id_fp32"),
    *generate("one element", {"INPUT0": 1}, "id_fp32"),
    *generate("half precision", {"INPUT0": [1.0]}, "id_fp16"),
    *generate("an empty body", b"", difference=BAD),
    *generate("no JSON", b"x", difference=BAD),
    *generate("an array", b"[]", difference=BAD),
    *only("generate", generate("the model fails", {"INPUT0": 4}, "fails")),
    *only("generate_stream", generate("the model fails", {"INPUT0": 4}, "fails", "stream-first-error")),
    *generate("the model does not find", {"INPUT0": 3}, "fails", "generate-error-status", 404),
]

_GETS = (
    "/v2 /v2/health/live /v2/health/ready /v2/models/simple /v2/models/simple/versions/1 /v2/models/two_versions "
    "/v2/models/two_versions/versions/2 /v2/models/simple/versions/9 /v2/models/nope /v2/models/simple/ready "
    "/v2/models/nope/ready /v2/models/simple/versions/9/ready /v2/models/simple/versions/0/ready "
    "/v2/models/simple/config /v2/models/nope/config /v2/models/sequence_sum/config /v2/models/mock_llm/config "
    "/v2/models/id_batched/config /v2/models/classify/config /v2/models/two_versions/versions/1/config "
    "/v2/models/stats /v2/models/simple/stats /v2/models/two_versions/stats /v2/logging /v2/trace/setting "
    "/v2/models/simple/trace/setting /v2/systemsharedmemory/status /v2/systemsharedmemory/region/xx/status "
    "/v2/cudasharedmemory/status /v2/cudasharedmemory/region/xx/status "
    "/ /v1/models /v2/ /v2/health /v2/models /v2/models/simple/ /v2/models//ready /V2/health/live "
    "/v2/models/simple/versions/foo /v2/models/simple/versions/-1 /v2/models/simple/versions/1/trace/setting "
    "/v2?a=b /v2/health/live?x=%2F /v2/models/sim%70le /v2/models/simple%2Fconfig /v2/models/a;b=c /ping /metrics"
)

PATHS = [
    *(Case(path, "GET", path) for path in _GETS.split()),
    *(
        Case(f"{path} of a huge version", "GET", path)
        for path in (f"/v2/models/simple/versions/{HUGE}", f"/v2/models/simple/versions/{HUGE}/ready")
    ),
    Case("statistics of an unknown model", "GET", "/v2/models/nope/stats", b"", {}, "unknown-model-404", 404),
    Case(
        "statistics of an unknown version",
        "GET",
        "/v2/models/simple/versions/9/stats",
        b"",
        {},
        "unknown-model-404",
        404,
    ),
    Case("trace of an unknown model", "GET", "/v2/models/nope/trace/setting", b"", {}, "unknown-model-404", 404),
    Case("leading zeros", "GET", "/v2/models/simple/versions/01", b"", {}, "version-zeros", 400),
    Case("a path as a name", "GET", "/v2/models/..", b"", {}, "impossible-names", 400),
    Case("a name too long", "GET", "/v2/models/" + "a" * 300, b"", {}, "impossible-names", 400),
    *(
        Case(f"{method} {path}", method, path)
        for method, path in (
            ("POST", "/v2"),
            ("POST", "/v2/health/live"),
            ("GET", "/v2/models/simple/infer"),
            ("PUT", "/v2/models/simple/infer"),
            ("GET", "/v2/models/simple/generate"),
            ("POST", "/v2/models/stats"),
            ("OPTIONS", "/v2/models/simple"),
            ("DELETE", "/v2/models/simple"),
            ("GET", "/v2/repository/index"),
            ("GET", "/v2/repository/models/simple/load"),
            ("DELETE", "/v2/logging"),
            ("GET", "/v2/systemsharedmemory/unregister"),
        )
    ),
    *(
        Case(f"HEAD {path}", "HEAD", path, b"", {}, "head", 200)
        for path in ("/v2", "/v2/models/simple", "/v2/health/live")
    ),
    *(Case(f"HEAD {path}", "HEAD", path) for path in ("/v2/models/simple/infer", "/v2/nowhere")),
]


def post(name: str, path: str, body: Any = b"", difference: str = "", status: int = 400) -> Case:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(name, "POST", path, content, {}, difference, status)


_LOAD, _UNLOAD, _INDEX = "/v2/repository/models/{}/load", "/v2/repository/models/{}/unload", "/v2/repository/index"
_REGISTER = "/v2/{}sharedmemory/region/r/register"
_CUDA = {"raw_handle": {"b64": base64.b64encode(bytes(64)).decode()}, "device_id": 0, "byte_size": 8}
_FP32 = {"name": "X", "datatype": "FP32", "shape": [1], "data": [0.5]}
_STEP = {"model_name": "id_fp32", "model_version": -1, "input_map": {"INPUT0": "X"}, "output_map": {"OUTPUT0": "Y"}}
_ENSEMBLE = {
    "config": json.dumps(
        {
            "platform": "ensemble",
            "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}],
            "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [-1]}],
            "ensemble_scheduling": {"step": [_STEP]},
        }
    ),
    "file:1/empty": "",
}

MANAGEMENT = [
    post("index", _INDEX),
    post("index of the ready", _INDEX, {"ready": True}),
    post("index of a repository", "/v2/repository/x/index"),
    post("index, wrong type", _INDEX, {"ready": "yes"}, BAD),
    post("index, no object", _INDEX, [], "ignored-fields"),
    post("load what is not there", _LOAD.format("nope")),
    post("load again", _LOAD.format("simple")),
    post("load from a repository", "/v2/repository/x/models/simple/load"),
    post("load with no JSON", _LOAD.format("simple"), b"x", BAD),
    post("load with an unknown parameter", _LOAD.format("simple"), {"parameters": {"foo": "1"}}, BAD),
    post("load with a number", _LOAD.format("simple"), {"parameters": {"config": 1}}, BAD),
    post("load with a bad configuration", _LOAD.format("simple"), {"parameters": {"config": "{x"}}),
    post("load a file that is no base64", _LOAD.format("simple"), {"parameters": {"file:1/x": "!"}}, BAD),
    post("load a file only", _LOAD.format("simple"), {"parameters": {"file:1/x": "QUJD"}}),
    post("unload what is not there", _UNLOAD.format("nope")),
    post("unload from a repository", "/v2/repository/x/models/nope/unload"),
    post("unload, wrong type", _UNLOAD.format("nope"), {"parameters": {"unload_dependents": "x"}}, "ignored-fields"),
    post("log settings", "/v2/logging", {"log_info": True, "log_verbose_level": 0, "log_format": "default"}),
    post("log settings, nulls", "/v2/logging", {"log_info": None}),
    post("log settings, wrong type", "/v2/logging", {"log_info": 1}, BAD),
    post("log settings, nothing", "/v2/logging", b"", BAD),
    post("log file", "/v2/logging", {"log_file": "x"}),
    post("log format", "/v2/logging", {"log_format": "zzz"}, "log-format"),
    post("trace settings", "/v2/trace/setting", {"trace_rate": "1000"}),
    post("trace settings, null", "/v2/trace/setting", {"trace_rate": None}),
    post("trace settings of a model", "/v2/models/simple/trace/setting", {"trace_count": "7"}),
    post("trace settings of a model, null", "/v2/models/simple/trace/setting", {"trace_count": None}),
    post("trace settings, bad number", "/v2/trace/setting", {"trace_rate": "x"}),
    post("trace settings, number", "/v2/trace/setting", {"trace_rate": 1}, BAD),
    post("trace level, no list", "/v2/trace/setting", {"trace_level": "OFF"}, BAD),
    post("trace level", "/v2/trace/setting", {"trace_level": ["OFF", "TIMESTAMPS"]}),
    post("trace file", "/v2/trace/setting", {"trace_file": "x"}),
    post("trace settings, nothing", "/v2/trace/setting", b"", BAD),
    post("register without a region", "/v2/systemsharedmemory/register", {}),
    post("register what is not there", _REGISTER.format("system"), {"key": "/penstock-nowhere", "byte_size": 64}),
    post("register without a key", _REGISTER.format("system"), {"byte_size": 64}, "error-text"),
    post("register without a size", _REGISTER.format("system"), {"key": "/k"}, "error-text"),
    post("register a negative size", _REGISTER.format("system"), {"key": "/k", "byte_size": -1}, BAD),
    post("unregister what is not there", "/v2/systemsharedmemory/region/xx/unregister"),
    post("unregister all", "/v2/systemsharedmemory/unregister"),
    post("register CUDA memory", _REGISTER.format("cuda"), _CUDA),
    post("register CUDA memory without a handle", _REGISTER.format("cuda"), {"byte_size": 8}, "error-text"),
    post(
        "register CUDA memory with a short handle",
        _REGISTER.format("cuda"),
        {**_CUDA, "raw_handle": {"b64": "QUJD"}},
        "error-text",
    ),
    post("unregister all CUDA memory", "/v2/cudasharedmemory/unregister"),
    post("load a new ensemble", _LOAD.format("ensemble"), {"parameters": _ENSEMBLE}),
    Case("configuration of an ensemble", "GET", "/v2/models/ensemble/config", b"", {}, "newer-fields", 200),
    Case("metadata of an ensemble", "GET", "/v2/models/ensemble"),
    post("ensemble", "/v2/models/ensemble/infer", {"inputs": [_FP32]}),
    post("unload the ensemble", _UNLOAD.format("ensemble")),
    # The last, since a Triton that failed to load a model does not call itself ready any more.
    post("load what fails", _LOAD.format("badload")),
]
