"""The admin port over real sockets, with aiohttp's client and with raw bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.admin.api import AdminServer, allowed_hosts, split_address


class Source:
    """Implements `gateway.admin.api.Source`."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def missing(self) -> list[str]:
        return self.reasons

    def fleet_view(self, pool: str, model: str) -> dict[str, Any]:
        return {"pools": {}, "asked": [pool, model]}

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return f"# {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


class Bench:
    def __init__(self, url: str, source: Source, session: aiohttp.ClientSession) -> None:
        self.url, self.source, self.session = url, source, session

    async def ask(
        self, method: str, path: str, **headers: str
    ) -> tuple[int, str, aiohttp.typedefs.CIMultiDictProxy[str]]:
        async with self.session.request(method, self.url + path, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]], address: str = "127.0.0.1:0") -> None:
    async def run() -> None:
        source = Source()
        server = AdminServer(address, source)
        await server.start()
        url, connector = server.url, None
        if url.startswith("unix:"):
            url, connector = "http://whatever", aiohttp.UnixConnector(url.removeprefix("unix:"))
        try:
            async with asyncio.timeout(10), aiohttp.ClientSession(connector=connector) as session:
                await scene(Bench(url, source, session))
        finally:
            await server.close()

    asyncio.run(run())


def test_health_and_readiness() -> None:
    async def scene(bench: Bench) -> None:
        status, body, headers = await bench.ask("GET", "/healthz")
        assert (status, json.loads(body), headers["Content-Type"]) == (200, {"status": "ok"}, "application/json")
        assert "Server" not in headers
        status, body, _ = await bench.ask("GET", "/readyz")
        assert (status, json.loads(body)) == (200, {"ready": True, "missing": []})
        bench.source.reasons = ["worker 1: not connected"]
        status, body, _ = await bench.ask("GET", "/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "missing": ["worker 1: not connected"]})
        assert (await bench.ask("GET", "/healthz"))[0] == 200

    play(scene)


def test_the_fleet_is_asked_for_by_pool_and_model() -> None:
    async def scene(bench: Bench) -> None:
        for query, asked in (("", ["", ""]), ("?pool=vision&model=a%2Fb", ["vision", "a/b"])):
            status, body, headers = await bench.ask("GET", f"/v1/fleet{query}")
            assert (status, headers["Content-Type"]) == (200, "application/json")
            assert json.loads(body) == {"pools": {}, "asked": asked}
        assert (await bench.ask("POST", "/v1/fleet"))[0] == 405

    play(scene)


def test_metrics_are_asked_for_by_accept() -> None:
    async def scene(bench: Bench) -> None:
        status, body, headers = await bench.ask("GET", "/metrics", Accept="text/x")
        assert (status, body) == (200, "# text/x\n")
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"

    play(scene)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_head_is_answered_without_a_body(path: str) -> None:
    async def scene(bench: Bench) -> None:
        status, body, _ = await bench.ask("HEAD", path)
        assert (status, body) == (200, "")

    play(scene)


def test_an_unknown_path_tells_the_known_ones() -> None:
    async def scene(bench: Bench) -> None:
        for path in ("/", "/nothing", "/healthz/", "/metrics/x"):
            status, body, _ = await bench.ask("GET", path)
            assert status == 404
            assert set(json.loads(body)["paths"]) == {"/healthz", "/readyz", "/metrics", "/v1/fleet", "/v1/explain"}

    play(scene)


def test_another_method_is_refused_as_json() -> None:
    async def scene(bench: Bench) -> None:
        status, body, headers = await bench.ask("POST", "/metrics")
        assert (status, json.loads(body)) == (405, {"error": "Method Not Allowed"})
        assert headers["Allow"] == "GET,HEAD"

    play(scene)


def test_on_loopback_a_foreign_host_is_refused() -> None:
    async def scene(bench: Bench) -> None:
        for host in ("localhost", "LOCALHOST:9901", "127.0.0.1", "127.0.0.1:1", "[::1]:9901", "localhost."):
            assert (await bench.ask("GET", "/metrics", Host=host))[0] == 200, host
        for host in ("evil.example", "evil.example:9901", "localhost.evil.example", "[::2]", "127.0.0.1.evil.example"):
            status, body, _ = await bench.ask("GET", "/metrics", Host=host)
            assert (status, json.loads(body)["error"]) == (403, "the Host header does not name this listener"), host

    play(scene)


def test_a_unix_socket_takes_any_host_and_replaces_a_stale_one(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "admin"))
    stale.close()

    async def scene(bench: Bench) -> None:
        assert (await bench.ask("GET", "/healthz"))[0] == 200

    play(scene, f"unix:{tmp_path / 'admin'}")


def test_a_port_that_is_taken_is_told() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            server = AdminServer(f"127.0.0.1:{sock.getsockname()[1]}", Source())
            with pytest.raises(OSError, match="address already in use"):
                await server.start()
            await server.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:9901", ("127.0.0.1", 9901)), ("[::1]:80", ("::1", 80)), (":9901", ("", 9901)), ("a.b:1", ("a.b", 1))],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("host", "guarded"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("", False),
        ("gw.example", False),
    ],
)
def test_only_loopback_is_guarded(host: str, guarded: bool) -> None:
    hosts = allowed_hosts(host)
    assert (hosts is not None) == guarded
    assert hosts is None or host in hosts
