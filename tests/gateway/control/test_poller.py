"""When endpoints are polled, with a scripted client and with real gRPC servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest

from config.schema import Endpoint, Pool, Readiness
from gateway.control import poller as module
from gateway.control.inventory import Poll
from gateway.control.poller import Pollers
from gateway.telemetry.metrics import Metrics
from gateway.world import ModelVersion
from tests.support.deadline import eventually
from tests.support.index_server import IndexServer

GOOD = Poll(live=True, models={})
BAD = Poll(live=False, reason="refused")


class Script:
    """A client whose polls wait for `gate` and answer `result`."""

    def __init__(self) -> None:
        self.result = GOOD
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = self.lives = 0
        self.ended = 0
        self.closed = self.renewed = False

    async def poll(self, timeout: float) -> Poll:
        self.begun += 1
        result = self.result
        await self.gate.wait()
        self.ended += 1
        return result

    async def live(self, timeout: float) -> Poll:
        self.lives += 1
        renewed, self.renewed = self.renewed, False
        return Poll(live=self.result.live, reason=self.result.reason, renewed=renewed)

    async def close(self) -> None:
        self.closed = True


class Bench:
    """Pollers over scripted clients: one pool `p`."""

    def __init__(self, count: int = 1, interval: float = 60.0, watched: Collection[str] = ()) -> None:
        self.scripts = {f"gpu-{index}:8001": Script() for index in range(count)}
        self.changes = 0
        self.metrics = Metrics()
        pool = Pool(tuple(map(Endpoint, self.scripts)), readiness=Readiness(interval=interval, failures=2))
        self.paged = False
        self.pollers = Pollers(
            {"p": pool},
            self._changed,
            self.metrics,
            self.scripts.__getitem__,
            lambda address: self.paged,
            watched=watched,
        )

    @property
    def script(self) -> Script:
        return self.scripts["gpu-0:8001"]

    def _changed(self) -> None:
        self.changes += 1


def play(bench: Callable[[], Bench], scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> Bench:
    """Run `scene` while the pollers run."""

    async def run() -> Bench:
        made = bench()
        running = asyncio.get_running_loop().create_task(made.pollers.run())
        async with asyncio.timeout(10):
            await scene(made)
        running.cancel()
        await asyncio.wait([running])
        return made

    return asyncio.run(run())


def test_polls_at_the_interval_and_closes_at_the_end() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.script.ended >= 3)

    bench = play(lambda: Bench(interval=0.06), scene)
    assert bench.changes == 1
    assert bench.script.closed


def test_first_waits_for_all_endpoints() -> None:
    async def scene(bench: Bench) -> None:
        bench.scripts["gpu-1:8001"].gate.clear()
        first = asyncio.get_running_loop().create_task(bench.pollers.first())
        await eventually(lambda: bench.script.ended == 1)
        assert not first.done()
        bench.scripts["gpu-1:8001"].gate.set()
        await first
        assert [state.live for state in bench.pollers.states()["p"]] == [True, True]

    play(lambda: Bench(2), scene)


def test_a_refresh_polls_at_once() -> None:
    async def scene(bench: Bench) -> None:
        await bench.pollers.first()
        bench.script.result = Poll(live=True, models={"m": {"1": ModelVersion("READY")}})
        await bench.pollers.refresh("p")
        assert "m" in bench.pollers.states()["p"][0].models
        assert bench.script.begun == 2
        await bench.pollers.refresh("no such pool")

    play(Bench, scene)


def test_a_refresh_during_a_poll_waits_for_the_next_one() -> None:
    async def scene(bench: Bench) -> None:
        bench.script.gate.clear()
        await eventually(lambda: bench.script.begun == 1)  # it has asked already, so it may not know what is new
        bench.script.result = Poll(live=True, models={"new": {}})
        refreshes = [asyncio.get_running_loop().create_task(bench.pollers.refresh("p")) for _ in range(50)]
        await asyncio.sleep(0)
        bench.script.gate.set()
        await asyncio.gather(*refreshes)
        assert "new" in bench.pollers.states()["p"][0].models
        assert bench.script.begun == 2  # one poll for all fifty

    play(Bench, scene)


def test_refreshes_keep_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        await bench.pollers.first()
        begun = loop.time()
        for _ in range(4):
            await bench.pollers.refresh("p")
        assert loop.time() - begun >= 3 * module.SHORTEST_GAP

    play(Bench, scene)


def test_a_limited_number_polls_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENT_POLLS", 3)

    async def scene(bench: Bench) -> None:
        for script in bench.scripts.values():
            script.gate.clear()
        scripts = bench.scripts.values()
        await eventually(lambda: sum(script.begun for script in scripts) == 3)
        await asyncio.sleep(0.05)
        assert sum(script.begun for script in scripts) == 3
        for script in scripts:
            script.gate.set()
        await bench.pollers.first()

    play(lambda: Bench(10), scene)


def test_transitions_are_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scene(bench: Bench) -> None:
        await bench.pollers.first()
        bench.script.result = BAD
        await bench.pollers.refresh("p")
        await bench.pollers.refresh("p")
        await bench.pollers.refresh("p")

    bench = play(Bench, scene)
    records = [record for record in caplog.records if record.name == module.__name__]
    assert [record.getMessage() for record in records] == ["endpoint is live", "endpoint is not live"]
    assert vars(records[1])["reason"] == "refused"
    values = bench.metrics.snapshot()
    assert values.gauges["penstock_endpoint_ready"]["p", "gpu-0:8001"] == 0
    polls = values.counters["penstock_endpoint_polls_total"]
    assert polls == {("p", "gpu-0:8001", "ok"): 1, ("p", "gpu-0:8001", "failed"): 3}
    assert bench.changes == 2


def test_a_poller_that_fails_ends_all() -> None:
    async def broken(timeout: float) -> Poll:
        raise ZeroDivisionError

    async def run() -> None:
        bench = Bench(2)
        bench.script.poll = broken  # type: ignore[method-assign]
        async with asyncio.timeout(5):
            await bench.pollers.run()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run())
    assert caught.value.subgroup(ZeroDivisionError) is not None


def test_real_servers_go_and_come_back() -> None:
    servers = [IndexServer(), IndexServer()]
    for server in servers:
        server.start()
    readiness = Readiness(interval=0.1, timeout=1.0, failures=2)
    pool = Pool(tuple(Endpoint(server.address) for server in servers), readiness=readiness)

    async def run() -> None:
        pollers = Pollers({"p": pool}, lambda: None, Metrics())
        running = asyncio.get_running_loop().create_task(pollers.run())

        def live() -> list[bool]:
            return [state.live for state in pollers.states()["p"]]

        await pollers.first()
        assert live() == [True, True]
        servers[1].stop()
        await eventually(lambda: live() == [True, False])
        assert pollers.states()["p"][1].models["m"]["1"].state == "READY"
        servers[1].start(servers[1].address)
        await eventually(lambda: live() == [True, True])
        running.cancel()
        await asyncio.wait([running])

    try:
        asyncio.run(run())
    finally:
        for server in servers:
            server.stop()


def test_while_a_page_tells_of_models_only_liveness_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        bench.paged = True
        await eventually(lambda: bench.script.lives >= 5)
        assert bench.script.begun == 1
        bench.script.result = Poll(live=True, models={"m": {"1": ModelVersion("LOADING")}})
        bench.pollers.hint("gpu-0:8001")  # the page has another model
        await eventually(lambda: bench.script.begun >= 4)  # until it has loaded
        bench.script.result = Poll(live=True, models={"m": {"1": ModelVersion("READY")}})
        await eventually(lambda: bench.pollers.states()["p"][0].models["m"]["1"].state == "READY")
        begun, lives = bench.script.begun, bench.script.lives
        await eventually(lambda: bench.script.lives >= lives + 5)
        assert bench.script.begun == begun
        await bench.pollers.refresh("p")
        assert bench.script.begun == begun + 1
        bench.paged = False
        await eventually(lambda: bench.script.begun >= begun + 4)

    play(lambda: Bench(interval=0.06), scene)


def test_the_index_is_read_now_and_then_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.3)

    async def scene(bench: Bench) -> None:
        bench.paged = True
        await eventually(lambda: bench.script.begun >= 3)
        assert bench.script.lives >= 4

    play(lambda: Bench(interval=0.06), scene)


def test_one_that_came_back_is_asked_for_its_index() -> None:
    async def scene(bench: Bench) -> None:
        bench.paged = True
        await eventually(lambda: bench.script.lives)
        bench.script.result = BAD
        await eventually(lambda: not bench.pollers.states()["p"][0].live)
        begun = bench.script.begun
        bench.script.result = GOOD
        await eventually(lambda: bench.pollers.states()["p"][0].live)
        assert bench.script.begun > begun

    play(lambda: Bench(interval=0.06), scene)


def test_who_answers_on_another_connection_is_asked_for_its_index() -> None:
    async def scene(bench: Bench) -> None:
        bench.paged = True
        await eventually(lambda: bench.script.lives)
        bench.script.result = Poll(live=True, models={"m": {"1": ModelVersion("LOADING")}})
        bench.script.renewed = True
        await eventually(lambda: "m" in bench.pollers.states()["p"][0].models)

    play(lambda: Bench(interval=0.06), scene)


def test_endpoints_and_states_are_in_one_order() -> None:
    async def scene(bench: Bench) -> None:
        states = [state.address for state in bench.pollers.states()["p"]]
        assert states == [one.address for one in bench.pollers.endpoints()["p"]] == list(bench.scripts)

    play(lambda: Bench(3), scene)


class Moving:
    """A source whose endpoints a test changes."""

    failure = ""

    def __init__(self, *addresses: str) -> None:
        self.endpoints = tuple(map(Endpoint, addresses))
        self.changed: Callable[[], None] = lambda: None

    def current(self) -> tuple[Endpoint, ...]:
        return self.endpoints

    async def run(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        changed()
        await asyncio.Event().wait()

    def move(self, *endpoints: Endpoint) -> None:
        self.endpoints = endpoints
        self.changed()


class MovingBench(Bench):
    """Pool `p` has what its source says of two scripted clients."""

    def __init__(self, *addresses: str) -> None:
        super().__init__(2)
        self.source = Moving(*addresses)
        pool = Pool(readiness=Readiness(interval=60.0, failures=2))
        self.pollers = Pollers(
            {"p": pool}, self._changed, self.metrics, self.scripts.__getitem__, sources={"p": self.source}
        )

    def states(self) -> dict[str, bool]:
        return {state.address: state.live for state in self.pollers.states()["p"]}


ONE, TWO = "gpu-0:8001", "gpu-1:8001"


def test_endpoints_come_and_go_as_their_source_says() -> None:
    async def scene(bench: Bench) -> None:
        assert isinstance(bench, MovingBench)
        await bench.pollers.first()
        assert bench.states() == {ONE: True}
        bench.source.move(Endpoint(TWO), Endpoint(ONE))
        assert list(bench.states()) == [TWO, ONE]
        await eventually(lambda: bench.states()[TWO])
        assert bench.script.begun == 1, "who stays is not polled anew"
        bench.source.move(Endpoint(TWO))
        await eventually(lambda: bench.script.closed)
        assert bench.states() == {TWO: True}
        assert bench.metrics.gauge("penstock_endpoint_ready", ("p", ONE)).value == 0
        changes = bench.changes
        bench.source.move(Endpoint(TWO))
        assert bench.changes == changes
        bench.source.move(Endpoint(TWO, weight=3.0))
        assert bench.changes == changes + 1
        assert bench.pollers.endpoints()["p"] == (Endpoint(TWO, weight=3.0),)

    play(lambda: MovingBench(ONE), scene)


def test_who_waits_for_a_poll_of_an_endpoint_that_goes_waits_no_longer() -> None:
    async def scene(bench: Bench) -> None:
        assert isinstance(bench, MovingBench)
        await bench.pollers.first()
        bench.script.gate.clear()
        refresh = asyncio.get_running_loop().create_task(bench.pollers.refresh("p"))
        await eventually(lambda: bench.script.begun == 2)
        bench.source.move(Endpoint(TWO))
        await refresh

    play(lambda: MovingBench(ONE), scene)


def test_workers_do_not_wait_for_ever_for_a_source_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_ANSWER", 0.05)

    class Silent(Moving):
        failure = "nobody answers"

        async def run(self, changed: Callable[[], None]) -> None:
            await asyncio.Event().wait()

    def made() -> Bench:
        bench = Bench()
        bench.pollers = Pollers({"p": Pool()}, bench._changed, bench.metrics, sources={"p": Silent()})
        return bench

    async def scene(bench: Bench) -> None:
        await bench.pollers.first()
        assert bench.pollers.states() == {"p": ()}
        assert bench.pollers.failures() == {"p": "nobody answers"}

    play(made, scene)
