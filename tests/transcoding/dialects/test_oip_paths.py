"""Paths of Triton's REST API, with Triton's own regular expressions as the oracle."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.dialects import oip_paths
from transcoding.dialects.oip_management import OPERATIONS
from transcoding.dialects.oip_paths import Match, MethodNotAllowed, route
from transcoding.status import GatewayError

# The regular expressions of Triton's http_server.cc, as the oracle.
MODEL = re.compile(
    r"/v2/models/([^/]+)(?:/versions/([0-9]+))?(?:/(infer|generate|generate_stream|ready|config|stats|trace/setting))?"
)
CONTROL = re.compile(r"/v2/repository(?:/([^/]+))?/(index|models/([^/]+)/(load|unload))")
MEMORY = re.compile(r"/v2/(system|cuda)sharedmemory(?:/region/([^/]+))?/(status|register|unregister)")

UNKNOWN = (
    "/ /v1/models /V2 /v2/ /v2/health /v2/models /v2/models/ /v2/models/m/ /v2/models//ready /v2//models/m "
    "/v2/models/m/versions /v2/models/m/versions/x /v2/models/m/versions/-1 /v2/models/m/versions/1e3/infer "
    "/v2/models/m/versions/latest /v2/models/m/versions/1/trace/setting /v2/models/m/infer/x /v2/models/m/INFER "
    "/v2/repository /v2/repository/a/b/index /v2/repository/models/m /v2/repository/r/models/m/drop "
    "/v2/systemsharedmemory /v2/systemsharedmemory/region/r /v2/sharedmemory/status /v2/logging/ /ping *"
)
WORDS = (
    "models m versions 1 01 x infer ready config stats trace setting repository index load unload region r status "
    "register systemsharedmemory cudasharedmemory health live logging generate"
)
PATHS = [
    ("GET", "/v2", Match("server_metadata", "metadata")),
    ("GET", "/v2?a=b", Match("server_metadata", "metadata")),
    ("GET", "/v2/health/live", Match("server_live", "metadata")),
    ("HEAD", "/v2/health/ready", Match("server_ready", "metadata")),
    ("GET", "/v2/models/stats", Match("model_statistics", "statistics")),
    ("GET", "/v2/models/stats/ready", Match("model_ready", "metadata", "stats")),
    ("GET", "/v2/models/m", Match("model_metadata", "metadata", "m")),
    ("GET", "/v2/models/m/versions/2", Match("model_metadata", "metadata", "m", "2")),
    ("GET", "/v2/models/m/versions/2/config", Match("model_config", "metadata", "m", "2")),
    ("GET", "/v2/models/m/ready", Match("model_ready", "metadata", "m")),
    ("GET", "/v2/models/m/stats", Match("model_statistics", "statistics", "m")),
    ("POST", "/v2/models/m/infer", Match("infer", "inference", "m")),
    ("POST", "/v2/models/m/versions/0/infer?x=%2F", Match("infer", "inference", "m", "0")),
    ("POST", "/v2/models/m/generate", Match("generate", "inference", "m")),
    ("POST", "/v2/models/m/versions/7/generate_stream", Match("generate_stream", "inference", "m", "7")),
    ("GET", "/v2/models/m/trace/setting", Match("trace_settings", "trace", "m")),
    ("POST", "/v2/models/m/trace/setting", Match("trace_update", "trace", "m")),
    ("POST", "/v2/trace/setting", Match("trace_update", "trace")),
    ("GET", "/v2/trace/setting", Match("trace_settings", "trace")),
    ("GET", "/v2/logging", Match("log_settings", "logging")),
    ("POST", "/v2/logging", Match("log_update", "logging")),
    ("POST", "/v2/repository/index", Match("repository_index", "repository")),
    ("POST", "/v2/repository/models/index", Match("repository_index", "repository", repository="models")),
    ("POST", "/v2/repository/models/m/load", Match("model_load", "repository", "m")),
    ("POST", "/v2/repository/r/models/m/unload", Match("model_unload", "repository", "m", repository="r")),
    ("GET", "/v2/systemsharedmemory/status", Match("system_shared_memory_status", "shared_memory")),
    (
        "POST",
        "/v2/cudasharedmemory/region/r/register",
        Match("cuda_shared_memory_register", "shared_memory", region="r"),
    ),
    ("POST", "/v2/systemsharedmemory/unregister", Match("system_shared_memory_unregister", "shared_memory")),
    ("GET", "/v2/models/id%5ffp32", Match("model_metadata", "metadata", "id%5ffp32")),
    ("GET", "/v2/models/caf\u00e9", Match("model_metadata", "metadata", "caf\u00e9")),
]


@pytest.mark.parametrize(("method", "path", "expected"), PATHS)
def test_paths(method: str, path: str, expected: Match) -> None:
    assert route(method.encode(), path.encode()) == expected
    assert route(method.encode(), path.encode()) == expected, "from the cache"


@pytest.mark.parametrize("path", UNKNOWN.split())
def test_unknown_paths(path: str) -> None:
    error = route(b"GET", path.encode())
    assert isinstance(error, GatewayError)
    assert (error.http_status, error.message) == (404, "Not Found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v2/models/m/infer", b"POST"),
        ("POST", "/v2/models/m", b"GET, HEAD"),
        ("DELETE", "/v2/logging", b"GET, HEAD, POST"),
        ("OPTIONS", "/v2/models/m/ready", b"GET, HEAD"),
        ("get", "/v2", b"GET, HEAD"),
        ("HEAD", "/v2/repository/index", b"POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: bytes) -> None:
    error = route(method.encode(), path.encode())
    assert isinstance(error, MethodNotAllowed)
    assert (error.http_status, error.allow) == (405, allow)


@pytest.mark.parametrize(
    "path",
    [
        b"/v2/models/..",
        b"/v2/models/./ready",
        b"/v2/models/a\\b",
        b"/v2/models/a\x00b",
        b"/v2/models/a\r\nb",
        b"/v2/models/\xc0\xaf",
        b"/v2/models/\xff",
        b"/v2/models/" + b"a" * 256,
        b"/v2/models/a\xe2\x80\xaeb",
        b"/v2/models/m/versions/01",
        b"/v2/models/m/versions/9223372036854775808",
        b"/v2/models/m/versions/" + b"9" * 10_000,
        b"/v2/systemsharedmemory/region/../status",
    ],
)
def test_names_and_versions_that_cannot_be(path: bytes) -> None:
    error = route(b"GET", path)
    assert isinstance(error, GatewayError)
    assert error.http_status == 400
    assert len(error.message) < 300


def test_a_huge_version_gets_tritons_text() -> None:
    error = route(b"GET", b"/v2/models/m/versions/99999999999999999999/ready")
    assert isinstance(error, GatewayError)
    assert error.message == (
        "failed to get model version from specified version string '99999999999999999999' (details: stol), "
        "version should be an integral value > 0"
    )


def test_the_cache_is_bounded() -> None:
    for index in range(oip_paths.CACHED_ROUTES + 10):
        route(b"GET", b"/v2/models/m%d" % index)
    assert len(oip_paths._cache) <= oip_paths.CACHED_ROUTES


def test_errors_are_not_shared() -> None:
    assert route(b"GET", b"/nowhere") is not route(b"GET", b"/nowhere"), "a raised exception keeps its traceback"


def test_each_operation_but_inference_can_be_done() -> None:
    operations = {match.operation: match.api for _, _, match in PATHS}
    assert {"infer", "generate", "generate_stream"} == set(operations) - set(OPERATIONS)
    assert all(OPERATIONS[name].api == api for name, api in operations.items() if name in OPERATIONS)


SEGMENTS = st.sampled_from([*WORDS.split(), ""])


@given(st.lists(SEGMENTS, max_size=7), st.sampled_from(["GET", "POST", "PUT"]))
def test_the_grammar_is_tritons(segments: list[str], method: str) -> None:
    path = "/v2" + "".join("/" + segment for segment in segments)
    found = route(method.encode(), path.encode())
    known = not (isinstance(found, GatewayError) and found.http_status == 404)
    model = MODEL.fullmatch(path)
    memory = MEMORY.fullmatch(path)
    control = CONTROL.fullmatch(path)
    versioned_trace = bool(model and model[2] and model[3] == "trace/setting")
    fixed = path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/logging", "/v2/trace/setting")
    assert known == (bool(model or memory or control or fixed) and not versioned_trace)
    if isinstance(found, Match) and path != "/v2/models/stats":
        assert found.model == ((model and model[1]) or (control and control[3]) or "")
        assert found.region == ((memory and memory[2]) or "")
        assert found.repository == ((control and control[1]) or "")


@given(st.binary(max_size=8), st.binary(max_size=60))
def test_any_request_line_gives_a_match_or_an_error(method: bytes, path: bytes) -> None:
    for candidate in (path, b"/v2/" + path, b"/v2/models/" + path):
        assert isinstance(route(method, candidate), Match | GatewayError)
