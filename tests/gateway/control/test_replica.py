"""One replica's ports, reasons and waits; what a pool makes of replicas is in test_managed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from config.schema import Models
from gateway.control.launch import Launch
from gateway.control.managed import nothing_to_do
from gateway.control.replica import CRASH_WINDOW, STABLE, Cause, Replica
from gateway.control.triton_process import Place
from tests.support.deadline import eventually
from tests.support.shell_triton import ShellTritons


class Host:
    """A pool of one replica, with a clock that stands still."""

    name = "p"

    def __init__(self, tritons: ShellTritons) -> None:
        self._tritons = tritons
        self.rolling = asyncio.Lock()
        self.client = tritons.client
        self.prepared = nothing_to_do
        self.left = nothing_to_do
        self.now = 1000.0
        self.taken: set[int] = set()
        self.ends = 0
        self.causes: list[Cause] = []

    def clock(self) -> float:
        return self.now

    def place(self, replica: int, generation: int) -> Place:
        return self._tritons.place(f"{replica}-{generation}")

    def taken_ports(self) -> set[int]:
        return self.taken

    def changed(self) -> None:
        pass

    def restarted(self, replica: int, cause: Cause) -> None:
        self.ends += 1
        self.causes.append(cause)


def play(
    directory: Path, scene: Callable[[Host, Replica], Coroutine[Any, Any, None]], live: bool = True, **changes: object
) -> None:
    tritons = ShellTritons(directory)
    tritons.live = live
    spec = tritons.spec(**changes)

    async def run() -> None:
        host = Host(tritons)
        replica = Replica(host, 0, Launch.of(spec, Models(), 0), spec)
        keeping = asyncio.ensure_future(replica.keep())
        try:
            async with asyncio.timeout(20):
                await scene(host, replica)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await replica.stop(5.0)

    try:
        asyncio.run(run())
    finally:
        tritons.close()


async def kill(replica: Replica) -> None:
    process = await eventually(lambda: replica.serving)
    os.kill(process.pid, signal.SIGKILL)
    await eventually(lambda: replica.serving not in (None, process))


def test_it_moves_to_other_ports_when_its_own_are_taken(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        process = await eventually(lambda: replica.serving)
        host.taken = {process.ports.grpc}
        await kill(replica)
        assert replica.serving is not None
        assert process.ports.grpc not in replica.serving.ports

    play(tmp_path, scene)


def test_it_takes_the_first_free_port_from_the_one_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        first = held.getsockname()[1]

        async def scene(host: Host, replica: Replica) -> None:
            process = await eventually(lambda: replica.serving)
            assert first < process.ports.grpc < first + 50

        play(tmp_path, scene, ports=first)


def test_ends_long_ago_are_no_crash_loop(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        await kill(replica)
        host.now += CRASH_WINDOW
        await kill(replica)
        assert not replica.crash_loop
        await kill(replica)
        assert replica.crash_loop
        assert replica.trouble() == ""  # it runs
        assert host.ends == 3

    play(tmp_path, scene, crash_loop=2)


def test_the_wait_begins_anew_after_a_long_run(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        for _ in range(4):
            await kill(replica)
        grown = replica._backoff._next
        host.now += STABLE
        await kill(replica)
        assert replica._backoff._next < grown

    play(tmp_path, scene, backoff=0.01, max_backoff=0.2)


def test_a_changed_wish_does_not_wait(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        await eventually(lambda: replica.reason)
        host._tritons.live = True
        settings = host._tritons.spec(arguments=("--fixed",), backoff=50.0, max_backoff=60.0)
        replica.wish(Launch.of(settings, Models(), 0), settings)
        await eventually(lambda: replica.serving)

    play(tmp_path, scene, live=False, start_timeout=0.1, backoff=50.0, max_backoff=60.0)


def test_one_that_hangs_when_it_starts_is_ended_and_tried_again(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        await eventually(lambda: host.ends >= 2)
        assert "not ready after 0.1 s" in replica.trouble()
        assert len(replica.processes) <= 1

    play(tmp_path, scene, live=False, start_timeout=0.1)


def test_leaving_while_it_waits(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        await eventually(lambda: replica.reason)
        replica.leave()
        await asyncio.sleep(0.1)
        assert replica.processes == []

    play(tmp_path, scene, live=False, start_timeout=0.1, backoff=50.0, max_backoff=60.0)


def silent_for(host: Host, replica: Replica, seconds: float) -> None:
    for _ in range(3):
        replica.polled(False)
    host.now += seconds
    replica.polled(False)


def test_one_that_runs_and_does_not_answer_is_replaced(tmp_path: Path) -> None:
    waited: list[str] = []

    async def scene(host: Host, replica: Replica) -> None:
        async def left(address: str) -> None:
            waited.append(address)

        host.left = left
        first = await eventually(lambda: replica.serving)
        os.kill(first.pid, signal.SIGSTOP)
        silent_for(host, replica, 59.0)
        await asyncio.sleep(0.05)
        assert replica.serving is first
        replica.polled(True)  # it was busy
        silent_for(host, replica, 59.0)
        await asyncio.sleep(0.05)
        assert replica.serving is first
        host.now += 1.0
        replica.polled(False)
        await eventually(lambda: replica.serving not in (None, first))
        assert first.ended.is_set()
        assert waited == [first.address]
        assert host.causes == ["hung"]
        assert replica.last_end.startswith("it runs, but has not answered for 60 s")
        assert not replica.reason
        silent_for(host, replica, 0.0)  # the new one is not to blame for what was before
        await asyncio.sleep(0.05)
        assert host.causes == ["hung"]

    play(tmp_path, scene)


def test_what_a_hung_one_has_is_waited_for_only_so_long(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        async def never(address: str) -> None:
            await asyncio.Event().wait()

        host.left = never
        first = await eventually(lambda: replica.serving)
        silent_for(host, replica, 10.0)
        await eventually(lambda: replica.state == "draining")
        assert replica.serving is None
        await eventually(lambda: replica.serving not in (None, first))

    play(tmp_path, scene, hung_after=5.0, drain_timeout=0.1)


def test_it_may_be_left_alone_however_silent(tmp_path: Path) -> None:
    async def scene(host: Host, replica: Replica) -> None:
        first = await eventually(lambda: replica.serving)
        silent_for(host, replica, 1e6)
        await asyncio.sleep(0.05)
        assert replica.serving is first

    play(tmp_path, scene, hung_after=None)
