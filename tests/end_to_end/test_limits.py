"""A rate limit and a limit of concurrency at a real gateway with two workers before a real Triton: one limit for both
workers, and what clients of REST and gRPC are told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import grpc
import numpy as np
import pytest

from routing.refusals import QUOTA_EXCEEDED, REDUCED_CAPACITY
from tests.support.counters import assert_nothing_held, value, wait_for_reports
from tests.support.gateway import Gateway
from tests.support.gateway_process import roles
from tests.support.messages import infer_request, stub
from tests.support.triton import start_triton
from tests.support.valkey import Valkey

pytestmark = pytest.mark.triton

BODY = json.dumps(
    {
        "inputs": [
            {"name": f"INPUT{n}", "shape": [1, 16], "datatype": "INT32", "data": list(range(16))} for n in range(2)
        ]
    }
)
INPUTS = {f"INPUT{n}": np.arange(16, dtype=np.int32).reshape(1, 16) for n in range(2)}
BURST = 40


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    limited = Gateway([start_triton(["simple"]).grpc_address], workers=2)
    limited.config |= {
        "state": "none",
        "policies": {
            "per_address": {
                "kind": "rate_limit",
                "rate": f"{BURST}/h",
                "by": ["address", "header:x-test"],
                "mode": "local",
            },
            "room": {"kind": "concurrency", "limit": 1, "queue": {"requests": 2, "wait": "2s"}},
        },
        "routes": [
            {
                "name": "limited",
                "match": {"model": "simple"},
                "to": {"pool": "tritons"},
                "policies": ["per_address", "room"],
            }
        ],
    }
    with limited:
        yield limited


async def ask(
    session: aiohttp.ClientSession, gateway: Gateway, name: str
) -> tuple[int, dict[str, str], dict[str, object]]:
    url = f"http://{gateway.address}/v2/models/simple/infer"
    headers = {"content-type": "application/json", "x-test": name}
    async with session.post(url, data=BODY, headers=headers) as reply:
        fields = {field.lower(): text for field, text in reply.headers.items()}
        return reply.status, fields, json.loads(await reply.read())


def test_two_workers_have_one_rate_limit(gateway: Gateway) -> None:
    async def run() -> None:
        seen: Counter[int] = Counter()
        for _ in range(BURST + 20):  # a connection of its own for each, so both workers are asked
            async with aiohttp.ClientSession() as session:
                status, fields, body = await ask(session, gateway, "rest")
            seen[status] += 1
            assert fields["ratelimit-policy"] == f'"per_address";q={BURST};w=3600'
        assert seen == {200: BURST, 429: 20}
        assert fields["content-type"] == "application/problem+json"
        assert fields["ratelimit"] == f'"per_address";r=0;t={fields["retry-after"]}'
        assert 0 < int(fields["retry-after"]) <= 3600 / BURST
        assert body["type"] == QUOTA_EXCEEDED
        assert body["violated-policies"] == ["per_address"]
        assert str(body["error"]).startswith(f"rate limit 'per_address' of {BURST}/h is used up")

    asyncio.run(run())
    wait_for_reports(gateway)
    assert value(gateway, "penstock_rate_limit_total", policy="per_address", result="refused") == 20


def test_grpc_is_told_when_to_come_back(gateway: Gateway) -> None:
    with grpc.insecure_channel(gateway.address) as channel:
        ask = stub(channel).ModelInfer
        for _ in range(BURST):
            _, call = ask.with_call(infer_request("simple", **INPUTS), metadata=[("x-test", "grpc")])
        assert dict(call.initial_metadata())["ratelimit"].startswith('"per_address";r=0;t=')
        with pytest.raises(grpc.RpcError) as caught:
            ask(infer_request("simple", **INPUTS), metadata=[("x-test", "grpc")])
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = dict(error.trailing_metadata())
    assert b"type.googleapis.com/google.rpc.RetryInfo" in told["grpc-status-details-bin"]
    assert told["ratelimit"].startswith('"per_address";r=0;t=')


def test_what_has_no_room_is_503_and_nothing_is_held_afterwards(gateway: Gateway) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            answers = await asyncio.gather(*(ask(session, gateway, f"room-{n}") for n in range(200)))
        seen = Counter(status for status, _, _ in answers)
        assert set(seen) == {200, 503}
        assert seen[200] >= 3
        fields, body = next((fields, body) for status, fields, body in answers if status == 503)
        assert body["type"] == REDUCED_CAPACITY
        assert int(fields["retry-after"]) >= 1

    asyncio.run(run())
    wait_for_reports(gateway)
    assert_nothing_held(gateway)
    for family in ("penstock_concurrency_in_flight", "penstock_concurrency_waiting"):
        assert value(gateway, family) == 0


def test_clients_that_leave_hold_nothing(gateway: Gateway) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = [asyncio.ensure_future(ask(session, gateway, f"gone-{n}")) for n in range(100)]
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            async with asyncio.timeout(10):  # the gateway may hear of the last ones after this call
                while (await ask(session, gateway, "stays"))[0] == 503:
                    await asyncio.sleep(0.02)
            assert (await ask(session, gateway, "stays"))[0] == 200

    asyncio.run(run())
    wait_for_reports(gateway)
    assert_nothing_held(gateway)
    assert value(gateway, "penstock_concurrency_in_flight") == 0


def test_a_worker_that_dies_does_not_keep_the_permits(gateway: Gateway) -> None:
    stop = threading.Event()

    async def load() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20)) as session:
            while not stop.is_set():
                try:
                    await ask(session, gateway, str(time.monotonic()))
                except aiohttp.ClientError:
                    continue  # the worker died with it

    thread = threading.Thread(target=lambda: asyncio.run(load()))
    thread.start()
    try:
        for _ in range(3):
            time.sleep(0.5)
            workers = {role: pid for role, pid in roles(gateway.process.pid).items() if role.startswith("worker")}
            os.kill(next(iter(workers.values())), signal.SIGKILL)
            time.sleep(1.0)
    finally:
        stop.set()
        thread.join(10)
    gateway.wait_ready()

    async def run() -> None:
        for number in range(20):
            async with aiohttp.ClientSession() as session:
                status, _, body = await ask(session, gateway, f"after-{number}")
                assert status == 200, body

    asyncio.run(run())
    wait_for_reports(gateway)
    assert value(gateway, "penstock_concurrency_in_flight") == 0


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_two_gateways_have_one_rate_limit_that_survives_their_restart(mode: str, valkey: Valkey) -> None:
    triton = start_triton(["simple"])

    def a_gateway() -> Gateway:
        limited = Gateway([triton.grpc_address], workers=2)
        policy = {"kind": "rate_limit", "rate": f"{BURST}/h", "mode": mode, "lease": 1, "on_error": "closed"}
        limited.config["state"] = {"url": f"unix:{valkey.socket}", "timeout": "2s"}
        limited.config["routes"][0]["policies"] = [policy]
        return limited

    async def run(gateways: list[Gateway], count: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        for number in range(count):
            async with aiohttp.ClientSession() as session:
                status, _, _ = await ask(session, gateways[number % len(gateways)], "")
            seen[status] += 1
        return seen

    with a_gateway() as one, a_gateway() as two:
        assert asyncio.run(run([one, two], BURST - 10)) == {200: BURST - 10}
        one.restart()
        assert asyncio.run(run([one, two], 30)) == {200: 10, 429: 20}
