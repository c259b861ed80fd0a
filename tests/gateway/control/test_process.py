"""Control as a process, in this one: what is announced and logged, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from config.schema import Admin, Listener, Managed, Pool, Tls
from gateway.control.managed import Ground
from gateway.control.plane import Plane
from gateway.control.process import Control, ReadinessWatch, announce, ground_in
from gateway.lifeline import Exit
from gateway.link import LinkClient
from gateway.rundir import RunDirectory
from gateway.world import Hello, Report
from tests.support.deadline import eventually
from tests.support.gateway_process import a_config
from tests.support.index_server import IndexServer
from tests.support.link_handler import Applied


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    server = IndexServer()
    server.start()
    directory = RunDirectory(str(tmp_path))
    directory.write_config(a_config(server.address))
    yield directory
    server.stop()


def test_serves_workers_until_stopped(
    directory: RunDirectory, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> Exit | int:
        control = Control(directory, workers=1)
        running = asyncio.get_running_loop().create_task(control.run())
        applied = Applied()
        link = LinkClient(directory.socket, 0, applied)
        linked = asyncio.get_running_loop().create_task(link.run())
        await eventually(lambda: applied.worlds)
        link.send_report(Report(0, 1, True, {}, {}, {}))
        await eventually(lambda: "ready" in caplog.messages)
        control.drain()
        await eventually(lambda: applied.worlds[-1].draining)
        assert not running.done()
        control.drain()
        code = await running
        linked.cancel()
        await asyncio.wait([linked])
        return code

    assert asyncio.run(run()) == Exit.OK
    assert "not ready" in caplog.messages
    assert capsys.readouterr().out.startswith("penstock: serving on http://127.0.0.1:")


def test_an_admin_port_that_is_taken_is_its_own_exit_code(directory: RunDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        admin = Admin(f"127.0.0.1:{sock.getsockname()[1]}")
        directory.write_config(msgspec.structs.replace(directory.read_config(), admin=admin))

        async def run() -> int:
            return await Control(directory, workers=1).run()

        assert asyncio.run(run()) == Exit.CANNOT_LISTEN


def test_readiness_is_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plane = Plane(msgspec.structs.replace(a_config(), pools={}, routes=()), workers=1)
    calls: list[str] = []
    ReadinessWatch(plane, lambda: calls.append("ready"))
    for _ in range(2):
        plane.hello(Hello(0, 1))
        plane.report(Report(0, 1, True, {}, {}, {}))
        plane.report(Report(0, 1, True, {}, {}, {}))
        plane.gone(Hello(0, 1))
    assert calls == ["ready", "ready"]
    told = [record for record in caplog.records if record.name == "gateway.control.process"]
    assert [record.getMessage() for record in told] == ["ready", "not ready"] * 2
    assert vars(told[1])["missing"] == ["worker 0: not connected"]


def test_the_announcement_names_all_listeners(capsys: pytest.CaptureFixture[str]) -> None:
    listen = (Listener("0.0.0.0:8080"), Listener("[::]:8443", tls=Tls("cert.pem", "key.pem")))
    announce(msgspec.structs.replace(a_config(), listen=listen), "unix:/run/admin")
    out = capsys.readouterr().out
    assert out == "penstock: serving on http://0.0.0.0:8080, https://[::]:8443 (admin unix:/run/admin)\n"


def test_tritons_have_a_ground_only_if_there_are_any(tmp_path: Path) -> None:
    plain = a_config("gpu:1", listen="127.0.0.1:8080", admin="unix:/tmp/admin")
    assert ground_in(str(tmp_path), plain, lambda: 7) is None
    pools = {"p": Pool(managed=Managed(("/models",)))}
    config = msgspec.structs.replace(plain, pools=pools)
    ground = ground_in(str(tmp_path), config, lambda: 7)
    assert ground == Ground(f"{tmp_path}/tritons", f"{tmp_path}/logs", 7, frozenset({8080}))
    config = msgspec.structs.replace(config, state_directory="/state", admin=Admin("127.0.0.1:0"))
    ground = ground_in(str(tmp_path), config, lambda: 7)
    assert ground == Ground(f"{tmp_path}/tritons", "/state/logs", 7, frozenset({8080}))
