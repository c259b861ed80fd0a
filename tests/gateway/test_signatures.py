"""Signatures of models, asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway import signatures as module
from gateway.signatures import Signatures
from routing.call import Call, Reply
from routing.endpoint import Endpoint
from routing.pool import Pool
from tests.support.pools import a_pool, an_endpoint
from transcoding.dialects.oip_messages import message_class
from transcoding.grpc_framing import encode_message
from transcoding.status import Code, GatewayError


class Asked:
    """A channel that describes one model, counts, and waits for `gate`."""

    connected = True

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.deadlines: list[float | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: GatewayError | bytes | None = None

    async def unary(self, call: Call) -> Reply:
        self.methods.append(call.method.name)
        self.deadlines.append(call.deadline)
        await self.gate.wait()
        if isinstance(self.answer, GatewayError):
            raise self.answer
        message = self.answer if self.answer is not None else describe(call.method.name).SerializeToString()
        return Reply(encode_message((message,)))

    @property
    def questions(self) -> int:
        return self.methods.count("ModelMetadata")


def describe(method: str) -> Any:
    if method == "ModelConfig":
        reply = message_class("ModelConfigResponse")()
        reply.config.max_batch_size = 8
        reply.config.model_transaction_policy.decoupled = True
        return reply
    reply = message_class("ModelMetadataResponse")(name="m")
    reply.inputs.add(name="IN", datatype="FP32", shape=[-1, 3])
    reply.outputs.add(name="OUT", datatype="BYTES", shape=[1])
    return reply


def run(use: Callable[[Signatures, Pool, Asked], Awaitable[None]]) -> None:
    async def main() -> None:
        channel = Asked()
        endpoint: Endpoint = an_endpoint(channel=channel)  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await use(Signatures(), a_pool([endpoint]), channel)

    asyncio.run(main())


def test_what_it_says() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        signature = await signatures.get(pool, "m", "3")
        assert (signature.name, signature.version, signature.max_batch_size) == ("m", "3", 8)
        assert signature.decoupled
        assert (signature.inputs, signature.outputs) == ({"IN": ("FP32", (-1, 3))}, {"OUT": ("BYTES", (1,))})

    run(use)


def test_many_ask_at_once_and_later_but_one_question_is_sent() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        found = await asyncio.gather(*(signatures.get(pool, "m", "") for _ in range(20)))
        assert all(each is found[0] for each in found)
        assert await signatures.get(pool, "m", "") is found[0]
        assert sorted(channel.methods) == ["ModelConfig", "ModelMetadata"]
        await signatures.get(pool, "m", "2")
        await signatures.get(pool, "other", "")
        assert channel.questions == 3

    run(use)


def test_the_first_who_asked_may_leave() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        channel.gate.clear()
        first, second = (asyncio.ensure_future(signatures.get(pool, "m", "")) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        channel.gate.set()
        assert (await second).name == "m"
        assert first.cancelled()
        assert channel.questions == 1

    run(use)


def test_errors_are_for_those_who_waited_and_not_kept() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        channel.answer = GatewayError(Code.NOT_FOUND, "no such model", executed=True)
        found = await asyncio.gather(*(signatures.get(pool, "m", "") for _ in range(3)), return_exceptions=True)
        assert [isinstance(each, GatewayError) for each in found] == [True] * 3
        channel.answer = None
        assert (await signatures.get(pool, "m", "")).name == "m"
        assert channel.questions == 2

    run(use)


def test_an_error_that_nobody_waited_for_is_not_kept_either() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        channel.answer = GatewayError(Code.INTERNAL, "no", executed=True)
        channel.gate.clear()
        only = asyncio.ensure_future(signatures.get(pool, "m", ""))
        await asyncio.sleep(0.01)
        only.cancel()
        channel.gate.set()
        await asyncio.sleep(0.01)
        channel.answer = None
        assert (await signatures.get(pool, "m", "")).name == "m"

    run(use)


def test_bytes_that_are_no_description() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        channel.answer = b"\xff\xff"
        with pytest.raises(GatewayError) as caught:
            await signatures.get(pool, "m", "")
        assert (caught.value.code, caught.value.http_status) == (Code.INTERNAL, 502)

    run(use)


def test_a_change_of_the_pool_asks_anew() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        await signatures.get(pool, "m", "")
        pool.changed()
        await signatures.get(pool, "m", "")
        assert channel.questions == 2

    run(use)


def test_a_load_asks_anew() -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        await signatures.get(pool, "m", "")
        signatures.forget()
        await signatures.get(pool, "m", "")
        assert channel.questions == 2

    run(use)


def test_age_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGE", 0.05)

    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        await signatures.get(pool, "m", "")
        await signatures.get(pool, "m", "")
        assert channel.questions == 1
        await asyncio.sleep(0.06)
        await signatures.get(pool, "m", "")
        assert channel.questions == 2

    run(use)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 4)

    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        for number in range(20):
            await signatures.get(pool, f"m{number}", "")
            assert len(signatures._entries) <= 4

    run(use)


def test_a_deadline_ends_the_wait_but_not_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(signatures: Signatures, pool: Pool, channel: Asked) -> None:
        channel.gate.clear()
        patient = asyncio.ensure_future(signatures.get(pool, "m", ""))
        now = asyncio.get_running_loop().time()
        with pytest.raises(GatewayError) as caught:
            await signatures.get(pool, "m", "", now + 0.02)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        channel.gate.set()
        assert (await patient).name == "m"
        assert channel.questions == 1
        assert all(each is not None and each <= now + module.PATIENCE + 1 for each in channel.deadlines)

    run(use)
