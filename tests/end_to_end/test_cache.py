"""The cache in front of a real Triton, over real workers and a real store: what is asked again is not computed again,
whoever asks it how, and a store in trouble harms nobody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2

from deploy.triton import Triton, free_ports
from tests.support.counters import value, wait_for_reports
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.messages import stub
from tests.support.stores import Between
from tests.support.triton import own_triton
from tests.support.valkey import Valkey

pytestmark = pytest.mark.triton

pb: Any = service_pb2
REQUESTS = "penstock_cache_requests_total"


class Stand:
    """A Triton, a store, and a gateway with two workers and a listener for each of two tenants."""

    def __init__(self, triton: Triton, valkey: Valkey, gateway: Gateway, other: str) -> None:
        self.triton, self.valkey, self.gateway = triton, valkey, gateway
        self.acme, self.other = gateway.address, other

    def executed(self, model: str = "simple") -> int:
        """How many requests Triton itself has answered since the model was loaded."""
        with grpc.insecure_channel(self.triton.grpc_address) as channel:
            statistics = stub(channel).ModelStatistics(pb.ModelStatisticsRequest(name=model), timeout=10)
        return sum(int(each.inference_stats.success.count) for each in statistics.model_stats)


def a_gateway(triton: Triton, store: str, workers: int = 2) -> tuple[Gateway, str]:
    (port,) = free_ports(1)
    other = f"127.0.0.1:{port}"
    gateway = Gateway([triton.grpc_address], workers=workers)
    (first,) = gateway.config["listen"]
    gateway.config["listen"] = [
        {**first, "policies": [{"kind": "anonymous", "tenant": "acme"}]},
        {**first, "address": other, "policies": [{"kind": "anonymous", "tenant": "other"}]},
    ]
    gateway.config["routes"][0]["policies"] = [{"kind": "cache", "ttl": "60s", "store_timeout": "50ms"}]
    gateway.config["state"] = {"url": store, "timeout": "50ms"}
    return gateway, other


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with own_triton(["simple", "slow"], explicit=True) as triton, Valkey() as valkey:
        gateway, other = a_gateway(triton, valkey.url)
        with gateway:
            yield Stand(triton, valkey, gateway, other)


def body(number: int, *, identifier: str = "") -> bytes:
    inputs = [
        {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": [number] * 16},
        {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": list(range(16))},
    ]
    return json.dumps({"inputs": inputs} | ({"id": identifier} if identifier else {})).encode()


def sleeping(seconds: float) -> bytes:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [seconds]}
    return json.dumps({"inputs": [tensor]}).encode()


async def post(address: str, content: bytes, model: str = "simple", headers: str = "") -> tuple[int, str, bytes]:
    """Status, `penstock-cache` and body of one request on a connection of its own."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
        writer.write(head.encode() + content)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in answered[1:] if line)
        reply = await reader.readexactly(int(fields["content-length"]))
        return int(answered[0].split()[1]), fields.get("penstock-cache", ""), reply
    finally:
        writer.close()


def told(address: str, content: bytes, model: str = "simple", headers: str = "") -> str:
    """How a request was answered, with 200."""
    status, how, reply = asyncio.run(post(address, content, model, headers))
    assert status == 200, reply
    return how


def warm(stand: Stand) -> None:
    """Ask until the workers know the store."""
    numbers = iter(range(10_000, 20_000))

    def shared() -> bool:
        content = body(next(numbers))
        told(stand.acme, content)
        before = value(stand.gateway, REQUESTS, result="hit_store")
        for _ in range(12):
            told(stand.acme, content)
        wait_for_reports(stand.gateway)
        return value(stand.gateway, REQUESTS, result="hit_store") > before

    until(shared, 30)


def test_one_answer_serves_json_binary_and_grpc_in_all_workers(stand: Stand) -> None:
    warm(stand)
    executed = stand.executed()
    first = np.full((1, 16), 7, np.int32)
    second = np.arange(16, dtype=np.int32).reshape(1, 16)
    assert told(stand.acme, body(7)) == "miss"
    for module in (tritonclient.http, tritonclient.grpc):
        for attempt in range(6):  # each on a connection of its own, so at either worker
            client = module.InferenceServerClient(stand.acme)
            inputs = [module.InferInput(f"INPUT{index}", [1, 16], "INT32") for index in (0, 1)]
            for tensor, data in zip(inputs, (first, second), strict=True):
                tensor.set_data_from_numpy(data)
            result = client.infer("simple", inputs, request_id=f"mine {attempt}")
            assert (result.as_numpy("OUTPUT0") == first + second).all()
            assert (result.as_numpy("OUTPUT1") == first - second).all()
            response = result.get_response()
            assert (response["id"] if isinstance(response, dict) else response.id) == f"mine {attempt}"
            client.close()
    status, how, reply = asyncio.run(post(stand.acme, body(7, identifier="json")))
    assert (status, how, json.loads(reply)["id"]) == (200, "hit", "json")
    assert json.loads(reply)["outputs"][0]["data"] == (first + second)[0].tolist()
    assert stand.executed() == executed + 1


def test_two_tenants_never_share(stand: Stand) -> None:
    executed = stand.executed()
    assert [told(address, body(21)) for address in (stand.acme, stand.other, stand.acme, stand.other)] == [
        *("miss", "miss", "hit", "hit")
    ]
    assert stand.executed() == executed + 2


def test_five_hundred_at_the_same_time_reach_triton_once(stand: Stand) -> None:
    warm(stand)
    executed = stand.executed("slow")

    async def all_at_once() -> list[tuple[int, str, bytes]]:
        return await asyncio.gather(*(post(stand.acme, sleeping(1.25), "slow") for _ in range(500)))

    answers = asyncio.run(all_at_once())
    assert {status for status, _, _ in answers} == {200}, answers[0]
    assert len({reply for _, _, reply in answers}) == 1
    assert stand.executed("slow") == executed + 1
    how = [each for _, each, _ in answers]
    assert how.count("miss") == 1
    assert set(how) <= {"miss", "shared", "hit"}


def test_a_leader_that_leaves_is_followed_by_one(stand: Stand) -> None:
    async def scenario() -> list[tuple[int, str, bytes]]:
        leader = asyncio.ensure_future(post(stand.acme, sleeping(0.75), "slow"))
        await asyncio.sleep(0.2)
        followers = [asyncio.ensure_future(post(stand.acme, sleeping(0.75), "slow")) for _ in range(20)]
        await asyncio.sleep(0.2)
        leader.cancel()
        return await asyncio.gather(*followers)

    executed = stand.executed("slow")
    answers = asyncio.run(scenario())
    assert {status for status, _, _ in answers} == {200}
    assert [how for _, how, _ in answers].count("miss") == 1
    assert stand.executed("slow") <= executed + 2, "the cancelled one may be counted"


def test_a_model_that_is_loaded_again_through_the_gateway_begins_anew_at_once(stand: Stand) -> None:
    assert [told(stand.acme, body(31)) for _ in range(4)] == ["miss", "hit", "hit", "hit"]
    with grpc.insecure_channel(stand.acme) as channel:
        stub(channel).RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="simple"), timeout=30)
    assert told(stand.acme, body(31)) == "miss"
    until(lambda: [told(stand.acme, body(31)) for _ in range(8)] == ["hit"] * 8, 5)


def test_a_model_that_is_loaded_again_behind_the_gateways_back_begins_anew_soon(stand: Stand) -> None:
    assert [told(stand.acme, body(number)) for number in (41, 42, 43, 41)] == ["miss", "miss", "miss", "hit"]
    time.sleep(1.0)  # a poll has seen these
    file = Path(stand.triton.repository) / "simple" / "1" / "model.py"
    file.write_text(file.read_text() + "\n# another\n")
    with grpc.insecure_channel(stand.triton.grpc_address) as channel:
        stub(channel).RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="simple"), timeout=30)
    until(lambda: told(stand.acme, body(41)) == "miss", 5)


def test_an_unload_is_seen_too(stand: Stand) -> None:
    assert [told(stand.acme, body(51)) for _ in range(2)] == ["miss", "hit"]
    with grpc.insecure_channel(stand.acme) as channel:
        stub(channel).RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="simple"), timeout=30)
        until(lambda: asyncio.run(post(stand.acme, body(51)))[0] != 200, 10)
        stub(channel).RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="simple"), timeout=30)
    until(lambda: asyncio.run(post(stand.acme, body(52)))[0] == 200, 10)
    assert told(stand.acme, body(51)) == "miss"


def test_what_a_client_says_of_the_cache_over_both_protocols(stand: Stand) -> None:
    assert told(stand.acme, body(61)) == "miss"
    assert told(stand.acme, body(61), headers="cache-control: no-cache\r\n") == "miss"
    assert told(stand.acme, body(61), headers="cache-control: no-store\r\n") == "bypass"
    status, _, _ = asyncio.run(post(stand.acme, body(62), headers="cache-control: only-if-cached\r\n"))
    assert status == 504
    request = pb.ModelInferRequest(model_name="simple")
    for name, data in (("INPUT0", [61] * 16), ("INPUT1", range(16))):
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16]).contents.int_contents.extend(data)
    with grpc.insecure_channel(stand.acme) as channel:
        _, call = stub(channel).ModelInfer.with_call(request, timeout=10)
        assert dict(call.initial_metadata())["penstock-cache"] == "hit"
        assert int(dict(call.initial_metadata())["age"]) < 60
        _, call = stub(channel).ModelInfer.with_call(request, timeout=10, metadata=[("cache-control", "no-store")])
        assert dict(call.initial_metadata())["penstock-cache"] == "bypass"


def test_answers_outlive_a_restart_of_all_gateways_but_no_load_meanwhile(stand: Stand) -> None:
    warm(stand)
    assert told(stand.acme, body(71)) == "miss"
    time.sleep(2.5)  # until the use of the model is recorded
    stand.gateway.restart()
    assert told(stand.acme, body(71)) == "hit"
    time.sleep(2.5)
    stand.gateway.process.terminate()
    assert stand.gateway.process.wait(15) == 0
    with grpc.insecure_channel(stand.triton.grpc_address) as channel:
        stub(channel).RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="simple"), timeout=30)
        until(lambda: not simple_is_ready(stand), 10)
        stub(channel).RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="simple"), timeout=30)
    stand.gateway.restart()
    assert told(stand.acme, body(71)) == "miss"


def simple_is_ready(stand: Stand) -> bool:
    with grpc.insecure_channel(stand.triton.grpc_address) as channel:
        return bool(stub(channel).ModelReady(pb.ModelReadyRequest(name="simple"), timeout=10).ready)


Trouble = Callable[[Valkey, Between], None]


def slow(valkey: Valkey, between: Between) -> None:
    between.delay = 1.0


def garbage(valkey: Valkey, between: Between) -> None:
    between.rude = True


def full(valkey: Valkey, between: Between) -> None:
    valkey.ask("CONFIG", "SET", "maxmemory", "1")


TROUBLES: dict[str, Trouble] = {
    "paused": lambda valkey, between: valkey.pause(),
    "killed": lambda valkey, between: valkey.kill(),
    "slow": slow,
    "garbage": garbage,
    "full": full,
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_store_in_trouble_harms_no_traffic(trouble: str, stand: Stand, tmp_path: Path) -> None:
    async def traffic(address: str, begin: int) -> float:
        """The slowest of some requests, half of which ask what was asked before."""
        slowest = 0.0
        for number in range(begin, begin + 60):
            started = time.monotonic()
            for _ in range(2):
                status, _, reply = await post(address, body(number))
                assert status == 200, reply
                assert json.loads(reply)["outputs"][0]["data"][:2] == [number, number + 1]
            slowest = max(slowest, time.monotonic() - started)
        return slowest

    async def scenario(valkey: Valkey, work: Callable[[Between], Awaitable[None]]) -> None:
        async with Between(
            valkey.socket, tmp_path / "s", rude=lambda data: b"*1\r\n$-5\r\nnonsense"
        ).serving() as between:
            await work(between)

    with Valkey() as valkey:

        async def work(between: Between) -> None:
            gateway, _ = a_gateway(stand.triton, f"unix:{between.path}")
            try:
                await asyncio.to_thread(gateway.start)
                await traffic(gateway.address, 1000)
                TROUBLES[trouble](valkey, between)
                assert await traffic(gateway.address, 2000) < 2.0, "well below the second that the store takes, twice"
                if trouble == "paused":
                    valkey.resume()
                between.delay, between.rude = 0.0, False
            finally:
                await asyncio.to_thread(gateway.stop)

        asyncio.run(scenario(valkey, work))
