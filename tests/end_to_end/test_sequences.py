"""Stateful sequences over real Tritons: over any connection to any worker, and each sum is right."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import accumulate

import pytest
from tritonclient.utils import InferenceServerException

from deploy.triton import Triton
from tests.support.dns_server import DnsServer
from tests.support.gateway import Gateway
from tests.support.sequence_clients import MODEL, SequenceClients
from tests.support.triton import own_triton, start_tritons

pytestmark = pytest.mark.triton

SEQUENCES = 1000


def plans(count: int, first: int, steps: int = 4) -> dict[int, list[int]]:
    rng = random.Random(first)
    return {first + number: [rng.randrange(1000) for _ in range(steps)] for number in range(count)}


async def run_all(http: str, grpc: str, plans: dict[int, list[int]]) -> dict[int, list[int]]:
    async with SequenceClients(http, grpc) as clients:
        sums = await asyncio.gather(*(clients.run(*plan, pause=0.2) for plan in plans.items()))
        return dict(zip(plans, sums, strict=True))


def test_a_thousand_interleaved_sequences_through_two_workers_have_the_sums_of_a_single_triton() -> None:
    tritons = start_tritons(2, [MODEL])
    wanted = plans(SEQUENCES, first=1)
    with Gateway([triton.grpc_address for triton in tritons], workers=2) as gateway:
        time.sleep(1.2)
        got = asyncio.run(run_all(gateway.address, gateway.address, wanted))
        shares = gateway.admin("/metrics")[1]
    single = asyncio.run(run_all(tritons[0].http_address, tritons[0].grpc_address, wanted))
    assert got == single
    assert got == {sequence: list(accumulate(values)) for sequence, values in wanted.items()}
    assert all(f'endpoint="{triton.grpc_address}",outcome="ok"' in shares for triton in tritons), shares


def test_when_a_triton_is_killed_its_sequences_are_lost_by_name_and_no_others() -> None:
    async def main(gateway: Gateway, tritons: list[Triton]) -> None:
        async with asyncio.timeout(60), SequenceClients(gateway.address, gateway.address) as clients:
            sequences = range(5000, 5100)
            for sequence in sequences:
                assert await clients.send(sequence, 1, start=True) == 1
            tritons[0].kill()
            lost, kept = {}, {}
            for sequence in sequences:
                try:
                    kept[sequence] = await clients.send(sequence, 1)
                except InferenceServerException as error:
                    lost[sequence] = str(error)
            assert 20 <= len(lost) <= 80
            assert set(kept.values()) == {2}
            for sequence, text in lost.items():
                assert (
                    f"sequence {sequence} of model '{MODEL}' was lost: its endpoint {tritons[0].grpc_address}" in text
                )
                assert "start it again" in text
            for sequence in lost:
                assert await clients.send(sequence, 5, start=True) == 5
            for sequence in sequences:
                assert await clients.send(sequence, 1, end=True) == (6 if sequence in lost else 3)

    with own_triton([MODEL]) as first, own_triton([MODEL]) as second:
        tritons = [first, second]
        with Gateway([triton.grpc_address for triton in tritons], workers=2) as gateway:
            asyncio.run(main(gateway, tritons))


def test_an_endpoint_that_dns_adds_in_the_middle_loses_no_sequence() -> None:
    name = "_grpc._tcp.triton.test"

    def records(count: int) -> list[str]:
        return [f"0 1 {triton.grpc_port} host.test." for triton in tritons[:count]]

    async def main(gateway: Gateway) -> dict[int, list[int]]:
        running = asyncio.ensure_future(run_all(gateway.address, gateway.address, old))
        await asyncio.sleep(0.3)
        server.set(name, "SRV", *records(2), ttl=1)
        async with asyncio.timeout(20):
            while tritons[1].grpc_address not in await asyncio.to_thread(lambda: gateway.admin("/v1/fleet")[1]):
                assert not running.done(), "the sequences were over too early"
                await asyncio.sleep(0.05)
        new = await run_all(gateway.address, gateway.address, fresh)
        return await running | new

    tritons = start_tritons(2, [MODEL])
    old, fresh = plans(200, first=10_000, steps=20), plans(200, first=20_000)
    with DnsServer() as server:
        server.set("host.test", "A", "127.0.0.1", ttl=1)
        server.set(name, "SRV", *records(1), ttl=1)
        pool = {"discover": {"srv": name, "nameserver": server.address}, "readiness": {"interval": 0.2}}
        with Gateway([], workers=2, settings={"pools": {"tritons": pool}}) as gateway:
            got = asyncio.run(main(gateway))
    assert got == {sequence: list(accumulate(values)) for sequence, values in (old | fresh).items()}
