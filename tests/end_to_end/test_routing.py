"""Rules, splits, labels and `latest` through a whole gateway with two workers, in front of real Tritons."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton_grpc

from deploy.triton import Triton
from tests.support.gateway import Gateway
from tests.support.h2_requests import H2Client
from tests.support.rest import Answer, rest
from tests.support.routed import told
from tests.support.triton import own_triton, start_tritons

pytestmark = pytest.mark.triton

MODELS = ("two_versions", "repeat_int32")
BODY = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}]}).encode()
REQUESTS = 2_000


def a_gateway(routes: list[dict[str, Any]], *tritons: Triton, **settings: Any) -> Gateway:
    """Pools `p0`, `p1` … of one Triton each, and `all` of all of them; a second listener tells nothing."""
    addresses = [triton.grpc_address for triton in tritons]
    pools = {f"p{at}": {"endpoints": [address]} for at, address in enumerate(addresses)}
    pools["all"] = {"endpoints": addresses}
    for pool in pools.values():
        pool["readiness"] = {"interval": 0.1}  # type: ignore[assignment]
    named = [{"match": {"model": "two_versions"}, **route} for route in routes]
    return Gateway(addresses, workers=2, settings={"pools": pools, "routes": named, **settings})


def infer(gateway: Gateway, model: str = "two_versions", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return rest(gateway.address, "POST", f"/v2/models/{model}/infer", BODY, named)


def version_of(answer: Answer) -> str:
    """The version that answered, by the model's own output, which must be what the reply says."""
    assert answer.status == 200, answer.body
    (output,) = answer.json["outputs"][0]["data"]
    assert str(output) == answer.json["model_version"]
    return str(output)


def over_h2(gateway: Gateway, headers: list[tuple[bytes, bytes]]) -> tuple[str, dict[str, str]]:
    with H2Client(gateway.port) as client:
        seen = client.response(client.request("/v2/models/two_versions/infer", BODY, headers))
    fields = [(name.decode(), value.decode()) for name, value in seen.headers[0]]
    return str(json.loads(seen.body)["outputs"][0]["data"][0]), told(fields)


def over_grpc(client: Any, headers: dict[str, str] | None = None) -> str:
    tensor = triton_grpc.InferInput("INPUT0", [1], "INT32")
    tensor.set_data_from_numpy(np.array([7], np.int32))
    reply = client.infer("two_versions", [tensor], headers=headers, client_timeout=20)
    return str(reply.as_numpy("OUTPUT0")[0])


def streamed(gateway: Gateway, count: int, headers: dict[str, str] | None = None) -> list[str]:
    """The versions that answered a stream of `count` requests."""
    answers: list[Any] = []
    tensor = triton_grpc.InferInput("INPUT0", [1], "INT32")
    tensor.set_data_from_numpy(np.array([7], np.int32))
    with triton_grpc.InferenceServerClient(gateway.address) as client:
        client.start_stream(
            lambda result, error: answers.append(error or result.as_numpy("OUTPUT0")[0]), headers=headers
        )
        for number in range(count):
            client.async_stream_infer("two_versions", [tensor], request_id=str(number))
        client.stop_stream()
    return list(map(str, answers))


@pytest.fixture(scope="module")
def tritons() -> list[Triton]:
    return start_tritons(2, MODELS)


RULED: dict[str, Any] = {
    "name": "ruled",
    "to": {"pool": "p0", "version": "1"},
    "rules": [
        {
            "name": "canary",
            "when": {"header": "x-model-version", "in": ["2", "two"]},
            "to": {"pool": "p1", "version": "2"},
        },
        {
            "name": "label",
            "when": {"header": "x-label", "regex": "(new|next).*"},
            "to": {"pool": "all", "version": "next"},
        },
        {
            "name": "renamed",
            "when": {"header": "x-alias", "present": True},
            "to": {"pool": "p1", "model": "two_versions", "version": "latest"},
        },
    ],
}
ALIAS = {
    "name": "alias",
    "match": {"model": "alias"},
    "to": {"pool": "p0", "model": "two_versions", "version": "2"},
}
SHARES = {
    "stable": {"pool": "all", "version": "1", "weight": 90},
    "canary": {"pool": "p1", "version": "2", "weight": 10},
}


@pytest.fixture(scope="module")
def gateway(tritons: list[Triton]) -> Iterator[Gateway]:
    with a_gateway([RULED, ALIAS], *tritons, labels={"two_versions": {"next": "2"}}) as gateway:
        yield gateway


class TestRules:
    CASES = (
        ({}, "1", ""),
        ({"x-model-version": "2"}, "2", "canary"),
        ({"X-Model-Version": "two"}, "2", "canary"),
        ({"x-model-version": "3"}, "1", ""),
        ({"x-label": "next-week"}, "2", "label"),
        ({"x-alias": "yes"}, "2", "renamed"),
        ({"x-alias": "yes", "x-model-version": "2"}, "2", "canary"),
    )

    @pytest.mark.parametrize(("headers", "version", "rule"), CASES)
    def test_over_every_protocol(self, gateway: Gateway, headers: dict[str, str], version: str, rule: str) -> None:
        tells = {"route": "ruled", "model-version": version, **({"variant": rule} if rule else {})}
        answer = rest(gateway.address, "POST", "/v2/models/two_versions/infer", BODY, headers)
        assert (version_of(answer), told(answer.headers)) == (version, tells)
        fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        assert over_h2(gateway, fields) == (version, tells)
        metadata = {name.lower(): value for name, value in headers.items()}
        with triton_grpc.InferenceServerClient(gateway.address) as client:
            assert over_grpc(client, metadata) == version
        assert streamed(gateway, 5, metadata) == [version] * 5

    def test_another_name(self, gateway: Gateway) -> None:
        answer = infer(gateway, "alias")
        assert (version_of(answer), answer.json["model_name"]) == ("2", "two_versions")
        metadata = rest(gateway.address, "GET", "/v2/models/alias").json
        assert metadata["name"] == "two_versions"
        assert rest(gateway.address, "GET", "/v2/models/alias/ready").status == 200
        (statistics,) = [
            each
            for each in rest(gateway.address, "GET", "/v2/models/alias/stats").json["model_stats"]
            if each["version"] == "2"
        ]
        assert statistics["inference_stats"]["success"]["count"] >= 1


class TestSplits:
    def a_split(self, tritons: list[Triton], sticky: Any, **listen: Any) -> Gateway:
        split = {"variants": SHARES, **({"sticky": sticky} if sticky else {})}
        gateway = a_gateway([{"name": "split", "split": split}], *tritons)
        gateway.config["listen"][0] |= listen
        return gateway

    def test_shares_by_chance(self, tritons: list[Triton]) -> None:
        with self.a_split(tritons, None) as gateway, ThreadPoolExecutor(8) as threads:
            found = Counter(threads.map(lambda _: version_of(infer(gateway)), range(REQUESTS)))
            assert found["1"] + found["2"] == REQUESTS
            assert abs(found["2"] / REQUESTS - 0.1) < 0.034  # five sigma

    @pytest.mark.parametrize(
        ("sticky", "header", "value"),
        [({"header": "x-user"}, "x-user", "user-%d"), ({"cookie": "sid"}, "cookie", "theme=dark; sid=%d")],
    )
    def test_keys_stay_whichever_worker_and_protocol(
        self, tritons: list[Triton], sticky: dict[str, str], header: str, value: str
    ) -> None:
        with self.a_split(tritons, sticky) as gateway, ThreadPoolExecutor(8) as threads:

            def ask(key: int) -> str:
                return version_of(infer(gateway, **{header: value % key}))

            keys = [*range(REQUESTS // 2)] * 2
            answers = list(threads.map(ask, keys))
            assert answers[: len(answers) // 2] == answers[len(answers) // 2 :]
            assert abs(answers.count("2") / len(answers) - 0.1) < 0.048  # five sigma over half as many keys
            with triton_grpc.InferenceServerClient(gateway.address) as client:
                for key in range(100):
                    assert over_grpc(client, {header: value % key}) == answers[key]

    def test_an_address_stays(self, tritons: list[Triton]) -> None:
        with self.a_split(tritons, {"address": True}, tell_route=False) as gateway:
            answers = [infer(gateway) for _ in range(40)]
            assert len(set(map(version_of, answers))) == 1
            assert [told(answer.headers) for answer in answers] == [{}] * 40


def eventually(check: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_the_latest_moves_when_it_is_ready_everywhere() -> None:
    """Version 2 is put into two repositories, one after the other, while requests run."""
    with own_triton(["two_versions"], explicit=True) as one, own_triton(["two_versions"], explicit=True) as two:
        config = "two_versions/config.pbtxt"
        for triton in (one, two):
            text = (triton.repository / config).read_text()
            (triton.repository / config).write_text(text.replace("all { }", "specific { versions: [1] }"))
            load(triton)
        route = {"name": "latest", "to": {"pool": "all", "version": "latest"}}
        with a_gateway([route], one, two) as gateway:
            eventually(lambda: told(infer(gateway).headers).get("model-version") == "1")
            seen: list[str] = []

            def watch(count: int) -> None:
                seen.extend(version_of(infer(gateway)) for _ in range(count))

            for triton in (one, two):
                text = (triton.repository / config).read_text()
                (triton.repository / config).write_text(text.replace("versions: [1]", "versions: [1, 2]"))
                assert "2" not in seen
                load(triton)
                watch(40 if triton is one else 1)
                time.sleep(0.5 if triton is one else 0)
                watch(40 if triton is one else 1)
            eventually(lambda: version_of(infer(gateway)) == "2")
            watch(40)
            assert seen == sorted(seen)
            assert (seen[0], seen[-1]) == ("1", "2")


def load(triton: Triton) -> None:
    with triton_grpc.InferenceServerClient(triton.grpc_address) as client:
        client.load_model("two_versions")
