"""Copies of calls: what is copied, how many are under way, and that nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from policies.mirror import Policy, Spec
from routing.call import Call, Reply
from tests.support.clock import Clock
from tests.support.model_server import request_of as a_request
from tests.support.policies import Counts, some_services
from tests.support.pools import OK, a_pool, an_endpoint
from transcoding.dialects.oip_grpc import scan_request
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

READY = {"m": {"1": "READY"}, "n": {"7": "READY"}}
FULL = GatewayError(Code.UNAVAILABLE, "queue full", fault=Fault.BUSY)


class Channel:
    """Where copies go: notes them, and answers when told to."""

    connected = True

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.error: GatewayError | None = None
        self.release: asyncio.Event | None = None
        self.cancelled = 0

    async def unary(self, call: Call) -> Reply:
        self.calls.append(call)
        if self.release is not None:
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.error is not None:
            raise self.error
        return Reply(OK)

    def hurry(self) -> None:
        pass


class Mirrored:
    """A mirror to a pool with one endpoint, and calls that pass it."""

    def __init__(self, **options: Any) -> None:
        self.channel = Channel()
        self.endpoint = an_endpoint("mirror:1", READY, self.channel)  # type: ignore[arg-type]
        self.counts = Counts()
        self.clock = Clock()
        pools = {"other": a_pool([self.endpoint])}
        spec = msgspec.convert({"to": {"pool": "other"}, **options}, Spec)
        self.policy = Policy(spec, some_services(self.counts, pools=pools, clock=self.clock))
        self.error: GatewayError | None = None

    async def call(self, **more: Any) -> Call:
        message = encode_message((a_request(numbers=[1, 2]).SerializeToString(),))
        call = Call(BY_NAME["ModelInfer"], "m", "", (message,), route="r", variant="v", **more)

        async def end(call: Call) -> Reply:
            if self.error is not None:
                raise self.error
            return Reply(OK)

        await self.policy(call, end)
        return call

    def outcomes(self) -> dict[str, float]:
        return {key[2]: count for key, count in self.counts.all().items() if key[0] == "penstock_mirrored_total"}


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(use: Callable[[Mirrored], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        mirrored = Mirrored(**options)
        await use(mirrored)
        if mirrored.channel.release is not None:
            mirrored.channel.release.set()
        await settle()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert mirrored.endpoint.in_flight == 0
        assert mirrored.policy._bytes == 0

    asyncio.run(main())


def test_a_copy_goes_where_it_is_told_and_is_counted() -> None:
    async def use(it: Mirrored) -> None:
        call = await it.call()
        await settle()
        (copy,) = it.channel.calls
        assert (copy.model, copy.version, copy.variant) == ("n", "7", "shadow")
        envelope = scan_request(b"".join(copy.message)[5:])
        assert (envelope.model, envelope.version) == ("n", "7")
        assert (call.model, call.version, call.variant, call.told) == ("m", "", "v", None)
        assert scan_request(b"".join(call.message)[5:]).model == "m"
        assert it.outcomes() == {"ok": 1}
        assert not it.endpoint.outcomes

    run(use, to={"pool": "other", "model": "n", "version": "7"}, name="shadow")


def test_nobody_waits_for_it_and_it_does_not_count_as_load() -> None:
    async def use(it: Mirrored) -> None:
        it.channel.release = asyncio.Event()
        await it.call()
        await settle()
        assert (len(it.channel.calls), it.endpoint.in_flight, it.outcomes()) == (1, 0, {})

    run(use)


@pytest.mark.parametrize(
    ("fault", "outcome"), [(Fault.WORKER, "error"), (Fault.MODEL, "error"), (Fault.CLIENT, "error")]
)
def test_its_failure_is_counted_and_it_is_not_sent_again(fault: Fault, outcome: str) -> None:
    async def use(it: Mirrored) -> None:
        it.channel.error = GatewayError(Code.UNAVAILABLE, "gone", fault=fault)
        await it.call()
        await settle()
        assert (len(it.channel.calls), it.outcomes()) == (1, {outcome: 1})

    run(use)


def test_a_request_that_is_wrong_is_no_error_of_the_mirror() -> None:
    async def use(it: Mirrored) -> None:
        it.channel.error = GatewayError(Code.INVALID_ARGUMENT, "wrong shape")
        await it.call()
        await settle()
        assert it.outcomes() == {"refused": 1}

    run(use)


def test_it_is_bounded_by_number_and_by_bytes() -> None:
    async def use(it: Mirrored) -> None:
        it.channel.release = asyncio.Event()
        for _ in range(5):
            await it.call()
        await settle()
        assert (len(it.channel.calls), it.outcomes()) == (2, {"dropped": 3})

    size = len(encode_message((a_request(numbers=[1, 2]).SerializeToString(),)))
    run(use, in_flight=2)
    run(use, max_bytes=2 * size + 1)


def test_under_pressure_copies_go_first() -> None:
    async def use(it: Mirrored) -> None:
        it.channel.release = asyncio.Event()
        for _ in range(3):
            await it.call()
        await settle()
        it.error = FULL
        with pytest.raises(GatewayError):
            await it.call()
        it.error = None
        await settle()
        assert it.channel.cancelled == 3
        await it.call()
        assert it.outcomes() == {"cancelled": 4, "dropped": 1}
        it.clock.now += 1.1
        await it.call()
        await settle()
        assert len(it.channel.calls) == 4

    run(use)


def test_a_copy_that_finds_a_full_queue_is_pressure_too() -> None:
    async def use(it: Mirrored) -> None:
        it.channel.error = FULL
        await it.call()
        await settle()
        await it.call()
        assert it.outcomes() == {"error": 1, "dropped": 1}

    run(use)


def test_a_share() -> None:
    async def use(it: Mirrored) -> None:
        for _ in range(400):
            await it.call()
            await settle()
        assert 60 <= len(it.channel.calls) <= 140

    run(use, share=0.25)


def test_what_has_no_copy() -> None:
    async def use(it: Mirrored) -> None:
        await it.call(sequence="5")
        written_later = Call(BY_NAME["ModelInfer"], "m", "", (), route="r")

        async def end(call: Call) -> Reply:
            return Reply(OK)

        await it.policy(written_later, end)
        stream = Call(BY_NAME["ModelStreamInfer"], "m", "", (b"x",), route="r")
        stream.exchange = object()  # type: ignore[assignment]
        await it.policy(stream, end)
        await settle()
        assert (it.channel.calls, it.outcomes()) == ([], {})

    run(use)


def test_a_model_that_is_not_there_is_an_error_of_the_copy_alone() -> None:
    async def use(it: Mirrored) -> None:
        await it.call()
        await settle()
        assert it.outcomes() == {"error": 1}

    run(use, to={"pool": "other", "model": "none"})
