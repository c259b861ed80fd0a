"""A managed pool as control sees it: who is an endpoint, what comes back, what is replaced, what is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway.control import proc
from gateway.control.launch import free_ports
from gateway.control.managed import Ground, ManagedPool, nothing_to_do
from gateway.control.triton_process import StartError
from gateway.telemetry.metrics import Metrics
from tests.support.deadline import eventually
from tests.support.shell_triton import ShellTritons

Hook = Callable[[str], Awaitable[None]]


class Bench:
    def __init__(self, directory: Path) -> None:
        self.tritons = ShellTritons(directory)
        self.metrics = Metrics()
        self.changes = 0
        self.pools: list[tuple[ManagedPool, asyncio.Task[None]]] = []

    def run(
        self,
        prepared: Hook = nothing_to_do,
        left: Hook = nothing_to_do,
        reserved: frozenset[int] = frozenset(),
        **changes: object,
    ) -> ManagedPool:
        ground = Ground(
            str(self.tritons.directory / "records"),
            str(self.tritons.directory / "logs"),
            self.tritons.lifeline,
            reserved,
        )
        pool = ManagedPool(
            "p",
            self.tritons.pool(**changes),
            ground,
            self.metrics,
            client=self.tritons.client,
            prepared=prepared,
            left=left,
        )
        self.pools.append((pool, asyncio.ensure_future(pool.run(self.changed))))
        return pool

    def changed(self) -> None:
        self.changes += 1

    async def end_run(self, pool: ManagedPool) -> None:
        (task,) = [task for each, task in self.pools if each is pool]
        task.cancel()
        await asyncio.wait([task])

    async def close(self) -> None:
        for pool, _ in self.pools:
            await self.end_run(pool)
            await pool.stop(5.0)

    def replicas(self, state: str) -> float:
        return self.metrics.gauge("penstock_managed_replicas", ("p", state)).value


def play(directory: Path, scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    bench = Bench(directory)

    async def run() -> None:
        async with asyncio.timeout(20):
            try:
                await scene(bench)
            finally:
                await bench.close()

    try:
        asyncio.run(run())
    finally:
        bench.tritons.close()


def pids(pool: ManagedPool) -> list[int]:
    return [process.pid for process in pool._serving()]


def addresses(pool: ManagedPool) -> set[str]:
    return {endpoint.address for endpoint in pool.current()}


def test_replicas_become_endpoints_when_they_are_ready(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        bench.tritons.live = False
        pool = bench.run(replicas=2)
        await asyncio.sleep(0.2)
        assert pool.current() == ()
        bench.tritons.live = True
        await eventually(lambda: len(pool.current()) == 2)
        assert len(addresses(pool)) == 2
        assert pool.states() == {0: "ready", 1: "ready"}
        assert bench.replicas("ready") == 2
        assert bench.changes >= 2
        memory = pool.memory_of(pool.current()[0].address)
        assert memory is not None
        assert memory > 0
        assert pool.memory_of("elsewhere:1") is None

    play(tmp_path, scene)


def test_ports_that_the_gateway_will_open_are_left_alone(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        first = free_ports("127.0.0.1", 0, ()).grpc
        pool = bench.run(reserved=frozenset({first, first + 1}), ports=first)
        (endpoint,) = await eventually(pool.current)
        assert int(endpoint.address.rpartition(":")[2]) > first + 1

    play(tmp_path, scene)


def test_what_is_wrong_is_told_to_whoever_follows_it(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        bench.tritons.live = False
        bench.tritons.tell("die")
        pool = bench.run(crash_loop=2)
        await eventually(lambda: pool.failure.startswith("replica 0: crash loop, 2 ends in 10 minutes: "))

    play(tmp_path, scene)


def test_one_that_is_killed_leaves_at_once_and_comes_back_at_its_address(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        pool = bench.run(replicas=2, backoff=0.3)
        await eventually(lambda: len(pool.current()) == 2)
        before = addresses(pool)
        victim, other = pids(pool)
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: pids(pool) == [other])
        assert "SIGKILL" in (await eventually(pool.troubles))[0]
        await eventually(lambda: len(pool.current()) == 2)
        assert addresses(pool) == before
        assert other in pids(pool)
        assert pool.troubles() == []
        assert bench.metrics.counter("penstock_managed_ends_total", ("p", "0", "ended")).value == 1

    play(tmp_path, scene)


def test_a_crash_loop_is_called_so_and_ends_when_its_cause_does(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        bench.tritons.live = False
        bench.tritons.tell("die")
        pool = bench.run(crash_loop=3)
        await eventually(lambda: pool.states() == {0: "crash_loop"})
        (trouble,) = pool.troubles()
        assert trouble.startswith(
            "replica 0: crash loop, 3 ends in 10 minutes: ended with exit status 3; it said: error"
        )
        assert bench.replicas("crash_loop") == 1
        bench.tritons.tell("die", False)
        bench.tritons.live = True
        await eventually(pool.current)
        assert pool.troubles() == []
        assert pool.states() == {0: "ready"}

    play(tmp_path, scene)


def test_a_changed_launch_replaces_one_after_another_without_a_gap(tmp_path: Path) -> None:
    log: list[str] = []

    async def scene(bench: Bench) -> None:
        async def prepared(address: str) -> None:
            log.append(f"prepared {address}")
            assert len(pool.current()) == 2

        async def left(address: str) -> None:
            assert address not in addresses(pool)
            assert len(pool.current()) >= 1
            log.append(f"left {address}")
            await asyncio.sleep(0.05)

        pool = bench.run(prepared, left, replicas=2)
        await eventually(lambda: len(pool.current()) == 2)
        before, old = addresses(pool), pids(pool)
        pool.apply(bench.tritons.pool(replicas=2, arguments=("--changed",)))
        await eventually(lambda: not set(pids(pool)) & set(old) and len(pool.current()) == 2 and len(log) == 4)
        assert not addresses(pool) & before
        assert [entry.split()[0] for entry in log] == ["prepared", "left"] * 2
        await eventually(lambda: not any(map(proc.identify, old)))
        await eventually(lambda: pool.states() == {0: "ready", 1: "ready"})

    play(tmp_path, scene)


def test_a_changed_one_that_does_not_come_up_leaves_the_one_before(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        broken = True

        async def prepared(address: str) -> None:
            if broken:
                raise StartError("model x does not load")

        pool = bench.run(prepared)
        await eventually(pool.current)
        old = pids(pool)
        pool.apply(bench.tritons.pool(arguments=("--changed",)))
        (trouble,) = await eventually(pool.troubles)
        assert trouble == "replica 0: the changed one does not come up, the one before goes on: model x does not load"
        assert pids(pool) == old
        broken = False
        await eventually(lambda: pids(pool) not in (old, []))
        assert pool.troubles() == []

    play(tmp_path, scene)


def test_more_and_fewer_replicas(tmp_path: Path) -> None:
    gone: list[str] = []

    async def scene(bench: Bench) -> None:
        async def left(address: str) -> None:
            gone.append(address)

        pool = bench.run(left=left)
        await eventually(pool.current)
        (first,) = pids(pool)
        pool.apply(bench.tritons.pool(replicas=3))
        await eventually(lambda: len(pool.current()) == 3)
        old = pids(pool)
        pool.apply(bench.tritons.pool(replicas=1))
        await eventually(lambda: pids(pool) == [first] and pool.states() == {0: "ready"})
        assert len(gone) == 2
        assert [proc.identify(pid) is None for pid in old] == [False, True, True]

    play(tmp_path, scene)


def test_one_that_does_not_drain_is_stopped_all_the_same(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        async def left(address: str) -> None:
            await asyncio.sleep(60)

        pool = bench.run(left=left, drain_timeout=0.2, replicas=2)
        await eventually(lambda: len(pool.current()) == 2)
        victim = pids(pool)[1]
        pool.apply(bench.tritons.pool(drain_timeout=0.2))
        await eventually(lambda: proc.identify(victim) is None)

    play(tmp_path, scene)


def test_the_next_control_finds_them_ready(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        first = bench.run(replicas=2)
        await eventually(lambda: len(first.current()) == 2)
        before, old = first.current(), pids(first)
        await bench.end_run(first)
        first.let_go()
        second = bench.run(replicas=2)
        assert second.current() == before  # before it ran: the first World must have them
        assert pids(second) == old
        os.kill(old[0], signal.SIGKILL)
        await eventually(lambda: len(second.current()) == 2 and pids(second) != old)

    play(tmp_path, scene)


def test_the_next_control_with_another_launch_replaces_them(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        first = bench.run()
        await eventually(first.current)
        old = pids(first)
        await bench.end_run(first)
        first.let_go()
        second = bench.run(arguments=("--changed",))
        assert pids(second) == old
        await eventually(lambda: pids(second) not in (old, []))

    play(tmp_path, scene)


def test_all_of_them_end_with_the_gateway(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        pool = bench.run(replicas=2)
        await eventually(lambda: len(pool.current()) == 2)
        old = pids(pool)
        await bench.close()
        assert not any(map(proc.identify, old))
        assert pool.current() == ()

    play(tmp_path, scene)
