"""REST inference and management through a data plane, with real gRPC servers behind it."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from config.schema import Limits
from gateway.ingress.exchange import Request
from gateway.ingress.refusal import error_response
from gateway.ingress.rest_infer import body_of, compressed
from tests.support.data_plane import PlaneThread, a_listener, a_plane, a_route
from tests.support.deadline import until
from tests.support.documents import BINARY, BYTES, DOCUMENT, INFER, LENGTH, TEXT
from tests.support.model_server import ModelServer, echo, model_server
from tests.support.triton import start_triton
from transcoding.status import Code, GatewayError


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


@pytest.fixture(scope="module")
def pinned(server: ModelServer) -> Iterator[PlaneThread]:
    models = {"m": {"2": "READY", "3": "READY"}}
    with a_plane(server.address, models=models, routes=[a_route(version="2")]) as running:
        yield running


@pytest.fixture(scope="module")
def real() -> Iterator[PlaneThread]:
    triton = start_triton(["simple", "two_versions", "id_fp32"])
    with a_plane(triton.grpc_address, routes=[a_route("two_versions", version="1"), a_route("*")]) as running:
        yield running


class TestBodies:
    def test_json_in_and_out(self, plane: PlaneThread, server: ModelServer) -> None:
        answer = plane.post(INFER, DOCUMENT | {"id": "a"})
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json == {
            "id": "a",
            "model_name": "m",
            "model_version": "1",
            "outputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [3], "data": [1, 2, 3]}],
        }
        sent = server.called("ModelInfer")[-1]
        assert (sent.model_name, sent.model_version, sent.raw_input_contents[0]) == ("m", "", BYTES)

    def test_binary_tensors_both_ways(self, plane: PlaneThread) -> None:
        head = json.dumps(BINARY).encode()
        answer = plane.post(INFER, head + BYTES, {LENGTH: str(len(head))})
        assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
        size = int(answer.headers[LENGTH.lower()])
        assert json.loads(answer.body[:size])["outputs"][0]["parameters"] == {"binary_data_size": 12}
        assert answer.body[size:] == BYTES

    def test_json_in_and_binary_out(self, plane: PlaneThread) -> None:
        answer = plane.post(INFER, DOCUMENT | {"outputs": BINARY["outputs"]})
        assert answer.body[int(answer.headers[LENGTH.lower()]) :] == BYTES

    def test_a_length_that_covers_all_is_only_json(self, plane: PlaneThread) -> None:
        assert plane.post(INFER, TEXT, {LENGTH: str(len(TEXT))}).status == 200

    def test_a_raw_body_takes_its_shape_from_the_model(self, plane: PlaneThread, server: ModelServer) -> None:
        answer = plane.post(INFER, BYTES, {LENGTH: "0"})
        assert answer.body[int(answer.headers[LENGTH.lower()]) :] == BYTES
        assert list(server.called("ModelInfer")[-1].inputs[0].shape) == [3]

    def test_a_large_binary_tensor(self, plane: PlaneThread) -> None:
        data = bytes(4) * 1_000_000
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": "INPUT0",
                        "datatype": "INT32",
                        "shape": [1_000_000],
                        "parameters": {"binary_data_size": len(data)},
                    }
                ],
                "outputs": BINARY["outputs"],
            }
        ).encode()
        answer = plane.post(INFER, head + data, {LENGTH: str(len(head))})
        assert answer.body[int(answer.headers[LENGTH.lower()]) :] == data

    @pytest.mark.parametrize(
        ("length", "message"),
        [
            ("x", "inference-header-content-length: expected a number, got 'x'"),
            ("-1", "inference-header-content-length: expected a number, got '-1'"),
            ("", "inference-header-content-length: expected a number, got ''"),
            ("9" * 19, "inference-header-content-length: expected a number, got '9999999999999999999'"),
            ("9999", f"inference header size should be in range (0, {len(TEXT)}), got: 9999"),
        ],
    )
    def test_a_length_that_cannot_be(self, plane: PlaneThread, length: str, message: str) -> None:
        answer = plane.post(INFER, TEXT, {LENGTH: length})
        assert (answer.status, answer.error) == (400, message)

    def test_an_empty_body_is_no_request(self, plane: PlaneThread) -> None:
        answer = plane.post(INFER)
        assert (answer.status, answer.error) == (400, "request body: expected a JSON object, got an empty body")

    def test_a_mistake_names_its_field(self, plane: PlaneThread) -> None:
        answer = plane.post(INFER, {"inputs": [DOCUMENT["inputs"][0] | {"shape": [-1]}]})
        assert (answer.status, answer.error) == (400, "inputs[0].shape[0]: expected an integer ≥ 0, got -1")


class TestCoding:
    @pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "identity", "Identity"])
    def test_a_body_that_is_coded(self, plane: PlaneThread, encoding: str) -> None:
        body = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.lower(), bytes)(TEXT)
        assert plane.post(INFER, body, {"Content-Encoding": encoding}).json["outputs"][0]["data"] == [1, 2, 3]

    def test_the_json_length_is_that_before_the_coding(self, plane: PlaneThread) -> None:
        head = json.dumps(BINARY).encode()
        headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip", LENGTH: str(len(head))}
        answer = plane.post(INFER, gzip.compress(head + BYTES), headers)
        plain = gzip.decompress(answer.body)
        assert answer.headers["content-encoding"] == "gzip"
        assert plain[int(answer.headers[LENGTH.lower()]) :] == BYTES

    def test_json_is_coded_as_the_client_prefers(self, plane: PlaneThread) -> None:
        answer = plane.post(INFER, TEXT, {"Accept-Encoding": "deflate"})
        assert answer.headers["content-encoding"] == "deflate"
        assert json.loads(zlib.decompress(answer.body))["model_name"] == "m"
        plain = plane.post(INFER, TEXT, {"Accept-Encoding": "identity, gzip"})
        assert "content-encoding" not in plain.headers
        assert plain.json["model_name"] == "m"

    @pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "", "identity, gzip"])
    def test_a_coding_that_is_not_known(self, plane: PlaneThread, encoding: str) -> None:
        answer = plane.post(INFER, TEXT, {"Content-Encoding": encoding})
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip, deflate")
        assert answer.error == "Unsupported compression type"

    @pytest.mark.parametrize(
        "body", [b"", b"no gzip", gzip.compress(TEXT, mtime=0)[:-4], gzip.compress(TEXT, mtime=0) + b"more"]
    )
    def test_a_body_that_is_not_what_it_says(self, plane: PlaneThread, body: bytes) -> None:
        assert plane.post(INFER, body, {"Content-Encoding": "gzip"}).status == 400

    def test_errors_are_never_coded(self, plane: PlaneThread) -> None:
        assert plane.post(INFER, b"{", {"Accept-Encoding": "gzip"}).error

    def test_what_inflates_is_bounded_alone_and_together(self, server: ModelServer) -> None:
        limits = Limits(inflated_bytes=1000, buffered_bytes=500)
        with a_plane(server.address, listen=[a_listener(limits=limits)]) as plane:
            padded = TEXT + b" " * 600
            answer = plane.post(INFER, gzip.compress(TEXT + b" " * 2000), {"Content-Encoding": "gzip"})
            assert (answer.status, answer.error) == (413, "request body: more than 1000 bytes when inflated")
            answer = plane.post(INFER, gzip.compress(padded), {"Content-Encoding": "gzip"})
            assert answer.status == 503
            assert plane.post(INFER, gzip.compress(TEXT), {"Content-Encoding": "gzip"}).status == 200
            plane.wait_idle()


class TestVersions:
    def test_the_route_chooses_for_those_who_name_none(self, pinned: PlaneThread, server: ModelServer) -> None:
        assert pinned.post(INFER, DOCUMENT).json["model_version"] == "2"
        assert server.called("ModelInfer")[-1].model_version == "2"

    def test_the_route_chooses_for_binary_and_raw_bodies(self, pinned: PlaneThread, server: ModelServer) -> None:
        head = json.dumps(BINARY).encode()
        assert pinned.post(INFER, head + BYTES, {LENGTH: str(len(head))}).status == 200
        assert pinned.post(INFER, BYTES, {LENGTH: "0"}).status == 200
        assert [each.model_version for each in server.called("ModelInfer")[-2:]] == ["2", "2"]
        assert server.called("ModelMetadata")[-1].version == "2"

    def test_the_client_wins(self, pinned: PlaneThread, server: ModelServer) -> None:
        assert pinned.post("/v2/models/m/versions/3/infer", DOCUMENT).json["model_version"] == "3"

    def test_a_version_that_is_not_there(self, pinned: PlaneThread) -> None:
        answer = pinned.post("/v2/models/m/versions/9/infer", DOCUMENT)
        assert (answer.status, answer.error) == (404, "Request for unknown model: 'm' version 9 is not found")

    def test_metadata_is_that_of_the_version(self, pinned: PlaneThread) -> None:
        assert pinned.get("/v2/models/m").json["versions"] == ["2"]
        assert pinned.get("/v2/models/m/versions/3").json["versions"] == ["3"]


class TestOperations:
    def test_health(self, plane: PlaneThread) -> None:
        assert [plane.get(f"/v2/health/{each}").status for each in ("live", "ready")] == [200, 200]
        assert plane.get("/v2/health/live").body == b""

    def test_head_has_the_length_and_no_body(self, plane: PlaneThread) -> None:
        get, head = plane.get("/v2/models/m"), plane.request("HEAD", "/v2/models/m")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(get.body))

    def test_methods_that_are_not_allowed(self, plane: PlaneThread) -> None:
        answer = plane.get(INFER)
        assert (answer.status, answer.headers["allow"], answer.error) == (405, "POST", "Method Not Allowed")
        assert plane.request("HEAD", INFER).status == 405

    def test_readiness_of_models(self, plane: PlaneThread) -> None:
        assert plane.get("/v2/models/m/ready").status == 200
        answer = plane.get("/v2/models/nope/ready")
        assert (answer.status, answer.error) == (400, "Model version not ready")

    def test_a_path_that_is_none(self, plane: PlaneThread) -> None:
        assert plane.get("/v3").error == "Not Found"

    def test_a_bug_is_told_as_ours(self, plane: PlaneThread, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
        def broken(*_: object) -> None:
            raise KeyError("a bug")

        monkeypatch.setattr(plane.plane.guard, "check_classified", broken)
        answer = plane.post(INFER, DOCUMENT | {"outputs": [{"name": "OUTPUT0", "parameters": {"classification": 1}}]})
        assert (answer.status, answer.error) == (500, "internal error")
        assert "a bug" in caplog.text
        assert plane.codes()["INTERNAL"] >= 1


class TestForwarding:
    def test_only_what_is_allowed_travels_on(self, server: ModelServer) -> None:
        headers = {
            "traceparent": "00-1-2-01",
            "X-Tenant-Id": "t",
            "Authorization": "Bearer x",
            "triton_grpc_error": "true",
            "X-Other": "o",
        }
        with a_plane(server.address, listen=[a_listener(forward_headers=("x-tenant-*",))]) as plane:
            assert plane.post(INFER, DOCUMENT, headers).status == 200
        metadata = server.calls[-1][2]
        assert (metadata["traceparent"], metadata["x-tenant-id"]) == ("00-1-2-01", "t")
        assert not {"authorization", "triton_grpc_error", "x-other"} & metadata.keys()


class TestSequences:
    def test_a_sequence_stays_on_one_endpoint(self) -> None:
        with model_server() as first, model_server() as second, a_plane(first.address, second.address) as plane:
            for number in range(8):
                started = {"sequence_start": number == 0, "sequence_id": 7}
                assert plane.post(INFER, DOCUMENT | {"parameters": started}).status == 200
            assert sorted(len(each.called("ModelInfer")) for each in (first, second)) == [0, 8]


class TestCounting:
    def test_each_request_is_counted_once(self, server: ModelServer) -> None:
        with a_plane(server.address) as plane:
            plane.post(INFER, DOCUMENT)
            plane.post(INFER, b"{")
            assert plane.codes() == {"OK": 1, "INVALID_ARGUMENT": 1}
            assert plane.counted("penstock_upstream_requests_total") == {("p", server.address, "ok"): 1}
            histogram = plane.metrics.histogram("penstock_request_duration_seconds", ("*", ""))
            assert sum(histogram.counts) == 2

    def test_a_client_that_leaves_cancels_its_work(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        release = threading.Event()
        monkeypatch.setattr(server, "infer", lambda request, context: release.wait(10) and echo(request))
        cancelled, calls = len(server.cancelled), len(server.calls)
        try:
            with a_plane(server.address) as plane:
                with socket.create_connection(("127.0.0.1", plane.port())) as client:
                    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(TEXT)}\r\n\r\n"
                    client.sendall(head.encode() + TEXT)
                    until(lambda: len(server.calls) > calls, 5)
                    assert {"in flight": 1, "at endpoints": 1, "requests": 1}.items() <= plane.held().items()
                until(lambda: len(server.cancelled) > cancelled, 5)
                plane.wait_idle()
                assert plane.codes() == {"CANCELLED": 1}
        finally:
            release.set()


def test_error_responses_say_when_to_come_back() -> None:
    error = GatewayError(Code.UNAVAILABLE, "busy", retry_after=0.2)
    assert (b"Retry-After", b"1") in error_response(error).fields
    error = GatewayError(Code.UNAVAILABLE, "busy", retry_after=7.4)
    assert (b"Retry-After", b"7") in error_response(error).fields


def test_a_compressed_response_says_so() -> None:
    response = compressed(b"{}", [b"tail"], b"gzip")
    assert gzip.decompress(response.body[0]) == b"{}tail"
    assert response.fields == ((b"Inference-Header-Content-Length", b"2"), (b"Content-Encoding", b"gzip"))


def test_a_body_without_coding_is_not_copied(plane: PlaneThread) -> None:
    for body in (b"body", bytearray(b"body")):
        request = Request(b"POST", b"/", {}, body)
        assert plane.run(lambda request=request: body_of(request, plane.listener)) is body


@pytest.mark.triton
class TestTriton:
    def test_add_and_subtract(self, real: PlaneThread) -> None:
        numbers = list(range(16))
        inputs = [{"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "data": numbers} for i in (0, 1)]
        outputs = real.post("/v2/models/simple/infer", {"inputs": inputs}).json["outputs"]
        assert [each["data"] for each in outputs] == [[2 * number for number in numbers], [0] * 16]

    def test_a_pinned_version_is_the_one_that_runs(self, real: PlaneThread) -> None:
        document = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [5]}]}
        assert real.post("/v2/models/two_versions/infer", document).json["model_version"] == "1"
        assert real.post("/v2/models/two_versions/versions/2/infer", document).json["model_version"] == "2"

    def test_a_raw_body(self, real: PlaneThread) -> None:
        data = struct.pack("<3f", 1, 2, 3)
        answer = real.post("/v2/models/id_fp32/infer", data, {LENGTH: "0"})
        assert answer.body[int(answer.headers[LENGTH.lower()]) :] == data

    def test_its_own_words_for_a_wrong_datatype(self, real: PlaneThread) -> None:
        answer = real.post(
            "/v2/models/id_fp32/infer",
            {"inputs": [{"name": "INPUT0", "datatype": "INT64", "shape": [1], "data": [1]}]},
        )
        assert answer.status == 400
        assert "data-type is 'INT64', but model 'id_fp32' expects 'FP32'" in answer.error
