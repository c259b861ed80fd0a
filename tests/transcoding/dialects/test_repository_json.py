"""Repository index, load and unload."""

from __future__ import annotations

import base64

import orjson
import pytest
from tritonclient.grpc import service_pb2 as pb

from transcoding.dialects.oip_management import OPERATIONS
from transcoding.dialects.oip_paths import Match
from transcoding.dialects.repository_json import FILE_NAME_LETTERS, check_load
from transcoding.status import Code, GatewayError

LOAD = Match("model_load", "repository", "m")


def load(body: object) -> pb.RepositoryModelLoadRequest:
    message = OPERATIONS["model_load"].encode(LOAD, orjson.dumps(body) if body is not None else b"")
    return pb.RepositoryModelLoadRequest.FromString(message)


def test_load_parameters() -> None:
    content = bytes(range(256))
    request = load({"parameters": {"config": "{}", "file:1/model.py": base64.b64encode(content).decode()}})
    assert request.model_name == "m"
    assert request.parameters["config"].string_param == "{}"
    assert request.parameters["file:1/model.py"].bytes_param == content


@pytest.mark.parametrize("body", [None, {}, {"parameters": {}}, {"other": 1}])
def test_load_without_parameters(body: object) -> None:
    assert not load(body).parameters


def test_a_named_repository_is_passed_on_for_triton_to_refuse() -> None:
    message = OPERATIONS["model_load"].encode(Match("model_load", "repository", "m", repository="r"), b"")
    assert pb.RepositoryModelLoadRequest.FromString(message).repository_name == "r"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"parameters": {"config": 1}}, "parameters.config: expected a string, got 1"),
        ({"parameters": {"foo": "x"}}, 'parameters.foo: unknown, expected "config" or "file:<path>"'),
        ({"parameters": {"file:a": "%"}}, "parameters.file:a: not valid base64"),
        ({"parameters": []}, "parameters: expected an object, got an array"),
    ],
)
def test_load_mistakes_are_named(body: object, text: str) -> None:
    with pytest.raises(GatewayError) as raised:
        load(body)
    assert (raised.value.http_status, raised.value.message) == (400, text)


@pytest.mark.parametrize("name", ["file:" + "x" * 256, "file:../../etc/x", "file:1/../../x", "file:a\0b", "y" * 300])
def test_file_names_that_harm_a_worker_never_reach_it(name: str) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="m")
    request.parameters[name].bytes_param = b""
    with pytest.raises(GatewayError, match="failed to load 'm', failed to poll from model repository") as raised:
        check_load(request.SerializeToString())
    assert (raised.value.code, raised.value.http_status) == (Code.INTERNAL, 400)
    if name.startswith("file:"):
        with pytest.raises(GatewayError, match="failed to poll"):
            load({"parameters": {name: ""}})


def test_the_longest_name_passes() -> None:
    request = pb.RepositoryModelLoadRequest(model_name="m")
    request.parameters["file:" + "x" * (FILE_NAME_LETTERS - 5)].bytes_param = b""
    check_load(request.SerializeToString())


def test_check_load_of_no_protobuf() -> None:
    with pytest.raises(GatewayError) as raised:
        check_load(b"\xff")
    assert raised.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(("body", "expected"), [(b"", False), (b"{}", False), (b'{"ready":true}', True)])
def test_index_request(body: bytes, expected: bool) -> None:
    match = Match("repository_index", "repository", repository="r")
    request = pb.RepositoryIndexRequest.FromString(OPERATIONS["repository_index"].encode(match, body))
    assert (request.ready, request.repository_name) == (expected, "")


def test_index_request_of_the_wrong_type() -> None:
    with pytest.raises(GatewayError, match="ready: expected a boolean, got a string"):
        OPERATIONS["repository_index"].encode(Match("repository_index", "repository"), b'{"ready":"yes"}')


def test_index_leaves_out_what_triton_leaves_out() -> None:
    reply = pb.RepositoryIndexResponse()
    reply.models.add(name="never")
    reply.models.add(name="ok", version="1", state="READY")
    reply.models.add(name="bad", version="1", state="UNAVAILABLE", reason="why")
    assert orjson.loads(OPERATIONS["repository_index"].render(reply.SerializeToString())) == [
        {"name": "never"},
        {"name": "ok", "version": "1", "state": "READY"},
        {"name": "bad", "version": "1", "state": "UNAVAILABLE", "reason": "why"},
    ]


def test_unload() -> None:
    match = Match("model_unload", "repository", "m")
    encode = OPERATIONS["model_unload"].encode
    plain = pb.RepositoryModelUnloadRequest.FromString(encode(match, b""))
    assert (plain.model_name, len(plain.parameters)) == ("m", 0)
    all_of_it = pb.RepositoryModelUnloadRequest.FromString(encode(match, b'{"parameters":{"unload_dependents":true}}'))
    assert all_of_it.parameters["unload_dependents"].bool_param is True
    with pytest.raises(GatewayError, match=r"parameters\.unload_dependents: expected a boolean, got a string"):
        encode(match, b'{"parameters":{"unload_dependents":"x"}}')
    assert OPERATIONS["model_unload"].render(b"") == b""
