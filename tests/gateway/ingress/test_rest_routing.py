"""Rules, splits and versions over REST, HTTP/1.1 and HTTP/2, and what the answers tell."""

from __future__ import annotations

import json
import socket
from collections import Counter

import pytest

from config.schema import Sticky, Target, Variant
from tests.support.data_plane import PlaneThread, a_route, a_state
from tests.support.h2_requests import H2Client
from tests.support.routed import READY, Routed, a_rule, a_split, halves, routed, told

DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [3], "data": [1, 2, 3]}]}
BODY = json.dumps(DOCUMENT).encode()
INFER = "/v2/models/m/infer"
PINNED = "/v2/models/m/versions/1/infer"
CANARY = a_rule(Target("b", version="2"), "canary", header="X-Canary", equals="yes")


def post(plane: PlaneThread, path: str = INFER, listener: int = 0, **headers: str) -> dict[str, str]:
    """What the answer to a request with these headers tells."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = plane.request("POST", path, BODY, named, listener)
    assert answer.status == 200
    return told(answer.headers)


class TestRules:
    def test_a_header_chooses_pool_and_version(self) -> None:
        with routed(a_route("m", "a", rules=(CANARY,))) as it:
            assert post(it.plane) == {"route": "m"}
            assert post(it.plane, X_Canary="yes") == {"route": "m", "variant": "canary", "model-version": "2"}
            assert post(it.plane, X_Canary="no") == {"route": "m"}
            assert it.asked() == (2, 1)
            assert it.b.called("ModelInfer")[0].model_version == "2"

    def test_a_version_that_the_client_names_stays(self) -> None:
        with routed(a_route("m", "a", rules=(CANARY,))) as it:
            assert post(it.plane, PINNED, X_Canary="yes") == {"route": "m", "variant": "canary"}
            assert it.b.called("ModelInfer")[0].model_version == "1"

    def test_a_rule_without_a_name_is_called_by_its_place(self) -> None:
        rules = (CANARY, a_rule("b", api="rest"))
        with routed(a_route("m", "a", rules=rules)) as it:
            assert post(it.plane) == {"route": "m", "variant": "rules[1]"}

    def test_method_and_model(self) -> None:
        rules = (a_rule("b", "generated", method="generate"), a_rule("b", "others", model=("o*",)))
        with routed(a_route("*", "a", rules=rules)) as it:
            assert post(it.plane) == {"route": "*"}
            assert post(it.plane, "/v2/models/other/infer") == {"route": "*", "variant": "others"}
            answer = it.plane.post("/v2/models/m/generate", {"INPUT0": [1]})
            assert (answer.status, told(answer.headers)) == (200, {"route": "*", "variant": "generated"})
            assert it.asked() == (1, 2)

    def test_another_model(self) -> None:
        rule = a_rule(Target("b", model="other"), "renamed", header="x", present=True)
        with routed(a_route("m", "a", rules=(rule,))) as it:
            answer = it.plane.post(INFER, BODY, {"x": ""})
            assert answer.json["model_name"] == "other"  # who answered, as Triton says it
            assert it.b.called("ModelInfer")[0].model_name == "other"
            answer = it.plane.post(INFER, BODY[:0] + bytes(12), {"x": "", "Inference-Header-Content-Length": "0"})
            assert answer.status == 200  # a raw body takes its shape from the model that is asked
            assert [request.name for request in it.b.called("ModelMetadata")] == ["other"]

    def test_classification_is_checked_of_the_model_that_is_asked(self) -> None:
        rule = a_rule(Target("b", model="other", version="2"), header="x", present=True)
        document = DOCUMENT | {"outputs": [{"name": "INPUT0", "parameters": {"classification": 1}}]}
        with routed(a_route("m", "a", rules=(rule,))) as it:
            it.b.models["other"].outputs = (("INPUT0", "BYTES", (-1,)),)
            assert it.plane.post(INFER, document).status == 200
            answer = it.plane.post(INFER, document, {"x": ""})
            assert (answer.status, "its datatype is BYTES" in answer.error) == (400, True)
            assert [(each.name, each.version) for each in it.b.called("ModelMetadata")] == [("other", "2")]


class TestSplits:
    def test_shares(self) -> None:
        split = a_split(stable=Variant("a", weight=90), canary=Variant("b", version="2", weight=10))
        with routed(a_route("m", split=split)) as it:
            found = Counter(post(it.plane)["variant"] for _ in range(400))
            assert 15 < found["canary"] < 75  # 40 are expected; five sigma
            assert it.asked() == (found["stable"], found["canary"])
            assert it.plane.counted("penstock_requests_total") == {
                ("m", "inference", "OK", name): count for name, count in found.items()
            }

    @pytest.mark.parametrize(
        ("sticky", "name", "value"),
        [(Sticky(header="X-User"), "x-user", "%d"), (Sticky(cookie="sid"), "cookie", "a=1; sid=%d; b=2")],
    )
    def test_a_key_stays(self, sticky: Sticky, name: str, value: str) -> None:
        with routed(a_route("m", split=halves(sticky))) as it:
            chosen = {number: post(it.plane, **{name: value % number})["variant"] for number in range(40)}
            assert set(chosen.values()) == {"left", "right"}
            for _ in range(3):
                for number, variant in chosen.items():
                    assert post(it.plane, **{name: value % number})["variant"] == variant

    def test_an_address_stays(self) -> None:
        with routed(a_route("m", split=halves(Sticky(address=True)))) as it:
            assert len({post(it.plane)["variant"] for _ in range(30)}) == 1

    def test_a_sequence_stays(self) -> None:
        with routed(a_route("m", split=halves())) as it:
            for number in range(1, 20):
                document = DOCUMENT | {"parameters": {"sequence_id": number}}
                answers = [it.plane.post(INFER, document) for _ in range(4)]
                assert len({told(answer.headers)["variant"] for answer in answers}) == 1
            assert min(it.asked()) > 0


class TestVersions:
    def test_labels(self) -> None:
        labels = {"m": {"stable": "1", "next": "2"}, "other": {"stable": "2"}}
        with routed(a_route("*", "a", version="stable"), labels=labels) as it:
            assert post(it.plane)["model-version"] == "1"
            assert post(it.plane, "/v2/models/other/infer")["model-version"] == "2"
            answer = it.plane.post("/v2/models/many/infer", BODY)
            assert (answer.status, "no version with the label 'stable'" in answer.error) == (404, True)
            assert it.plane.codes() == {"OK": 2, "NOT_FOUND": 1}

    def test_the_latest_moves_when_it_is_ready(self) -> None:
        with routed(a_route("m", "a", version="latest"), models={"m": {"1": "READY", "2": "LOADING"}}) as it:
            assert post(it.plane)["model-version"] == "1"
            it.plane.apply(states={"a": (a_state(it.a.address, {"m": READY}),)})
            assert post(it.plane)["model-version"] == "2"
            assert [each.model_version for each in it.a.called("ModelInfer")] == ["1", "2"]

    def test_the_latest_does_not_go_back_with_a_new_configuration(self) -> None:
        import msgspec

        with routed(a_route("m", "a", version="latest")) as it:
            assert post(it.plane)["model-version"] == "2"
            other = msgspec.structs.replace(it.plane.config, routes=(a_route("m", "a", "r", version="latest"),))
            both = (a_state(it.a.address, {"m": READY}), a_state("127.0.0.1:1", {"m": {"1": "READY"}}))
            it.plane.apply(config=other, states={"a": both})
            assert post(it.plane) == {"route": "r", "model-version": "2"}

    def test_the_latest_of_unknown_models_is_tritons(self) -> None:
        with routed(a_route("m", "a", version="latest"), models=None) as it:
            assert post(it.plane) == {"route": "m"}


def h2_told(it: Routed, path: str = INFER, body: bytes = BODY, headers: tuple[tuple[bytes, bytes], ...] = ()) -> object:
    with H2Client(it.plane.port()) as client:
        seen = client.response(client.request(path, body, headers))
        return told({name.decode(): value.decode() for name, value in seen.headers[0]})


class TestTold:
    def test_over_http2(self) -> None:
        with routed(a_route("m", "a", rules=(CANARY,))) as it:
            assert h2_told(it) == {"route": "m"}
            expected = {"route": "m", "variant": "canary", "model-version": "2"}
            assert h2_told(it, headers=((b"x-canary", b"yes"),)) == expected

    def test_cookies_in_several_fields_are_one_header(self) -> None:
        """RFC 9113 §8.2.3."""
        with routed(a_route("m", split=halves(Sticky(cookie="sid")))) as it:
            for number in range(8):
                split = ((b"cookie", b"a=1"), (b"cookie", b"sid=%d" % number), (b"cookie", b"b=2"))
                assert h2_told(it, headers=split) == post(it.plane, cookie=f"sid={number}")

    def test_cookies_in_several_lines_of_http1(self) -> None:
        with routed(a_route("m", split=halves(Sticky(cookie="sid")))) as it:
            lines = "Host: gw\r\nCookie: a=1\r\nCookie: sid=%d\r\nCookie: b=2\r\n"
            for number in range(8):
                head = f"POST {INFER} HTTP/1.1\r\n{lines % number}Content-Length: {len(BODY)}\r\n\r\n"
                with socket.create_connection(("127.0.0.1", it.plane.port()), timeout=20) as client:
                    client.sendall(head.encode() + BODY)
                    answer = client.recv(65536).decode()
                assert f"penstock-variant: {post(it.plane, cookie=f'sid={number}')['variant']}\r\n" in answer

    def test_errors_tell_who_failed(self) -> None:
        with routed(a_route("m", "a", rules=(CANARY,))) as it:
            it.plane.apply(states={"b": (a_state(it.b.address, {}),)})
            answer = it.plane.post(INFER, BODY, {"x-canary": "yes"})
            assert answer.status == 404
            assert told(answer.headers) == {"route": "m", "variant": "canary", "model-version": "2"}
            assert told(it.plane.post(INFER, b"{").headers) == {}

    def test_binary_and_compressed_answers(self) -> None:
        document = DOCUMENT | {"outputs": [{"name": "INPUT0", "parameters": {"binary_data": True}}]}
        with routed(a_route("m", "a")) as it:
            for headers in ({}, {"Accept-Encoding": "gzip"}):
                assert told(it.plane.post(INFER, document, headers).headers) == {"route": "m"}

    def test_generated_streams(self) -> None:
        body = json.dumps({"INPUT0": [1, 2]}).encode()
        with routed(a_route("*", "a", version="2")) as it:
            answer = it.plane.post("/v2/models/many/generate_stream", body)
            expected = {"route": "*", "model-version": "2"}
            assert (answer.status, told(answer.headers)) == (200, expected)
            assert h2_told(it, "/v2/models/many/generate_stream", body) == expected

    def test_a_listener_that_tells_nothing(self) -> None:
        with routed(a_route("m", "a", rules=(CANARY,))) as it:
            assert post(it.plane, listener=1, X_Canary="yes") == {}
            answer = it.plane.request("POST", "/v2/models/m/generate", b"{", {"x-canary": "yes"}, 1)
            assert told(answer.headers) == {}
            assert it.asked() == (0, 1)

    def test_management_tells_nothing(self) -> None:
        with routed(a_route("m", "a")) as it:
            assert told(it.plane.get("/v2/models/m").headers) == {}
