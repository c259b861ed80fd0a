"""The own generator against a scripted server: counts, rates, and answers that are wrong."""

from __future__ import annotations

import asyncio
import json

import pytest

from loadtests.exchange import Address, Exchange, WrongAnswerError
from loadtests.load import generator
from loadtests.load.client import LoadError, Reply
from tests.support.scripted_server import ScriptedServer, http_reply, scripted_server

HEADERS = (("content-type", "application/json"),)


def verify(headers: dict[str, str], body: bytes) -> None:
    if json.loads(body) != {"answer": 42}:
        raise WrongAnswerError(f"expected 42, got {body!r}")


EXCHANGE = Exchange("oip_json", "/v2/models/simple/infer", HEADERS, b"{}", verify)
RIGHT = http_reply(b'{"answer":42}')


def address(server: ScriptedServer) -> Address:
    return Address("127.0.0.1", server.port)


async def checked(server: ScriptedServer) -> Reply:
    return await generator.ask(EXCHANGE, address(server))


def test_closed_loop_sends_exactly_the_requests() -> None:
    with scripted_server(RIGHT) as server:

        async def scenario() -> None:
            load = await generator.closed(EXCHANGE, address(server), await checked(server), 3, 50)
            assert load.requests == 50

        asyncio.run(scenario())
        assert server.requests == 51


def test_a_fixed_rate_is_kept() -> None:
    with scripted_server(RIGHT) as server:

        async def scenario() -> None:
            load = await generator.opened(EXCHANGE, address(server), await checked(server), 4, 200.0, 40)
            assert len(load.latencies) == 40
            assert list(load.latencies) == sorted(load.latencies)
            assert load.seconds > 39 / 200

        asyncio.run(scenario())
        assert server.requests == 1 + 4 + 40


def test_a_wrong_answer_is_noticed_before_timing() -> None:
    with scripted_server(http_reply(b'{"answer":41}')) as server, pytest.raises(WrongAnswerError, match="41"):
        asyncio.run(checked(server))


def test_an_error_status_is_noticed() -> None:
    reply = http_reply(b'{"error":"busy"}', "503 Service Unavailable")
    with scripted_server(reply) as server, pytest.raises(LoadError, match=r"503.*busy"):
        asyncio.run(checked(server))


def test_an_answer_that_changes_is_noticed_under_load() -> None:
    with scripted_server(RIGHT) as server:

        async def scenario() -> None:
            expected = await checked(server)
            server.reply = http_reply(b'{"answer":43}')
            with pytest.raises(LoadError, match="differs"):
                await generator.closed(EXCHANGE, address(server), expected, 2, 10)

        asyncio.run(scenario())


def test_a_closed_connection_is_noticed() -> None:
    with scripted_server(RIGHT, closes=True) as server:

        async def scenario() -> None:
            with pytest.raises(LoadError):
                await generator.closed(EXCHANGE, address(server), await checked(server), 1, 5)

        asyncio.run(scenario())


@pytest.mark.parametrize(("status", "grpc_status"), [(200, "14"), (200, None), (404, "0")])
def test_grpc_needs_both_statuses(status: int, grpc_status: str | None) -> None:
    exchange = Exchange("grpc", "/x/Y", (), b"", verify)
    headers = {"grpc-status": grpc_status} if grpc_status else {}
    with pytest.raises(LoadError, match="grpc-status"):
        generator.check_status(exchange, Reply(status, headers))
