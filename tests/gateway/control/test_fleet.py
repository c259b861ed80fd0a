"""All endpoints together: who has a page, whose rows are whose, and real pages over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from config.schema import Endpoint, Pool
from config.schema import Metrics as Settings
from gateway.control import fleet as module
from gateway.control.fleet import Fleet, Place, sources
from gateway.control.load import Shape
from gateway.control.slots import Slots
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, ModelVersion
from routing.load_board import LoadBoard
from tests.support.deadline import eventually
from tests.support.metrics_pages import page
from tests.support.page_server import PageServer

READY = ModelVersion("READY")
M = ("m", "1")
QUICK = Settings(interval=0.02)


class Shapes:
    """Tells `shape` for every model, and what it was asked."""

    def __init__(self) -> None:
        self.shape: Shape | None = Shape(2)
        self.asked: list[tuple[str, str, str]] = []
        self.closed = 0

    def client(self, address: str) -> ShapesOf:
        return ShapesOf(self, address)


class ShapesOf:
    def __init__(self, shapes: Shapes, address: str) -> None:
        self._shapes, self._address = shapes, address

    async def shape(self, model: str, version: str, timeout: float) -> Shape | None:
        self._shapes.asked.append((self._address, model, version))
        return self._shapes.shape

    async def close(self) -> None:
        self._shapes.closed += 1


class Bench:
    def __init__(self) -> None:
        self.board = LoadBoard.create(None, 64, 2)
        self.slots = Slots(self.board)
        self.metrics = Metrics()
        self.moved: list[str] = []
        self.shapes = Shapes()
        self.fleet = Fleet(self.board, self.slots, self.metrics, self.moved.append, configurations=self.shapes.client)
        self.server = PageServer(page({M: {}}))
        self.models = {"m": {"1": READY}}

    def sync(
        self, *endpoints: Endpoint, live: bool = True, settings: Settings = QUICK, **more: tuple[Endpoint, ...]
    ) -> dict[str, tuple[EndpointState, ...]]:
        members = {"p": endpoints, **more}
        states = {
            name: tuple(EndpointState(one.address, live, True, self.models) for one in each)
            for name, each in members.items()
        }
        return self.fleet.sync({name: Pool(each, metrics=settings) for name, each in members.items()}, members, states)

    def here(self, address: str = "gpu:8001", weight: float = 1.0) -> Endpoint:
        """An endpoint whose page is that of the server."""
        return Endpoint(address, metrics=self.server.address, weight=weight)


def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        bench = Bench()
        async with asyncio.timeout(20), bench.server:
            running = asyncio.get_running_loop().create_task(bench.fleet.run())
            await scene(bench)
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(run())


def test_rows_and_weights_are_told() -> None:
    async def scene(bench: Bench) -> None:
        told = bench.sync(bench.here("a:1", 2.5), Endpoint("b:1", metrics="127.0.0.1:1"))["p"]
        assert [(one.address, one.weight, one.live) for one in told] == [("a:1", 2.5, True), ("b:1", 1.0, True)]
        rows = [row for one in told for row in (one.slot, one.models["m"]["1"].slot)]
        assert len(set(rows)) == 4
        assert min(rows) >= 0

    play(scene)


def test_what_a_page_says_is_on_the_board() -> None:
    async def scene(bench: Bench) -> None:
        (told,) = bench.sync(bench.here())["p"]
        row = told.models["m"]["1"].slot
        await eventually(lambda: bench.board.at(told.slot) > 0)
        assert bench.fleet.paged("gpu:8001")
        bench.server.page = page({M: {"pending": 3, "success": 1, "executions": 1, "infer_us": 20_000}})
        await eventually(lambda: bench.board.published(row).pending == 3)
        await eventually(lambda: bench.board.published(row).service == pytest.approx(0.01))  # on two instances
        assert bench.shapes.asked == [("gpu:8001", "m", "1")]
        await eventually(lambda: bench.board.foreign(told.slot) > 0.03)
        await eventually(lambda: bench.shapes.closed)

    play(scene)


def test_a_configuration_that_is_not_told_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIGURATION_PAUSE", 0.05)

    async def scene(bench: Bench) -> None:
        bench.shapes.shape = None
        bench.server.page = page({M: {"pending": 3}})
        bench.sync(bench.here())
        await eventually(lambda: len(bench.shapes.asked) >= 3)

    play(scene)


def test_other_models_on_a_page_are_told_to_the_pollers() -> None:
    async def scene(bench: Bench) -> None:
        (told,) = bench.sync(bench.here())["p"]
        await eventually(lambda: bench.board.at(told.slot) > 0)
        assert bench.moved == []
        bench.server.page = page({M: {}, ("new", "1"): {}})
        await eventually(lambda: bench.moved == ["gpu:8001"])

    play(scene)


def test_an_endpoint_that_goes_is_read_no_more_and_gives_its_rows_back() -> None:
    async def scene(bench: Bench) -> None:
        bench.sync(bench.here())
        await eventually(lambda: len(bench.server.requests) >= 2)
        bench.sync(Endpoint("other:1", metrics="127.0.0.1:1"))
        await asyncio.sleep(0.05)
        asked = len(bench.server.requests)
        await asyncio.sleep(0.1)
        assert len(bench.server.requests) == asked
        assert {owner[0] for owner in bench.slots.owners()} == {"other:1"}
        assert not bench.fleet.paged("gpu:8001")

    play(scene)


def test_rows_of_a_control_before_are_kept_for_those_that_are_still_there() -> None:
    async def scene(bench: Bench) -> None:
        row = bench.slots.allot(("gpu:8001", "m", "1"))
        bench.slots.allot(("gone:1", "m", "1"))
        (told,) = bench.sync(bench.here())["p"]
        assert told.models["m"]["1"].slot == row
        assert {owner[0] for owner in bench.slots.owners()} == {"gpu:8001"}

    play(scene)


def test_an_endpoint_in_two_pools_is_read_once() -> None:
    async def scene(bench: Bench) -> None:
        both = bench.sync(bench.here(), q=(bench.here(weight=3.0),))
        assert both["p"][0].slot == both["q"][0].slot
        assert both["p"][0].models["m"]["1"].slot == both["q"][0].models["m"]["1"].slot
        assert [each[0].weight for each in both.values()] == [1.0, 3.0]
        await asyncio.sleep(0.05)
        assert bench.server.connections == 1

    play(scene)


def test_a_quiet_endpoint_is_read_at_once_when_this_node_sends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.pace.QUIET", 0.05)
    monkeypatch.setattr("gateway.control.pace.SLOWEST_QUIET", 30.0)

    async def scene(bench: Bench) -> None:
        (told,) = bench.sync(bench.here())["p"]
        scraper = bench.fleet.entries["gpu:8001"].scraper
        assert scraper is not None
        await eventually(lambda: scraper.quiet)
        await asyncio.sleep(0.5)
        asked = len(bench.server.requests)
        bench.board.worker(0).add(told.slot, 0.1)
        await eventually(lambda: len(bench.server.requests) > asked + 5)

    play(scene)


def test_one_that_comes_back_is_asked_for_its_page_at_once() -> None:
    async def scene(bench: Bench) -> None:
        bench.server.fault = "404"
        slow = Settings(interval=60.0)
        bench.sync(bench.here(), live=False, settings=slow)
        await eventually(lambda: bench.server.requests)
        bench.server.fault = ""
        bench.sync(bench.here(), live=True, settings=slow)
        await eventually(lambda: bench.fleet.paged("gpu:8001"))

    play(scene)


def test_a_page_elsewhere_is_read_there_from_now_on() -> None:
    async def scene(bench: Bench) -> None:
        async with PageServer(page({M: {"pending": 9}})) as other:
            bench.sync(bench.here())
            await eventually(lambda: bench.server.requests)
            (told,) = bench.sync(Endpoint("gpu:8001", metrics=other.address))["p"]
            await eventually(lambda: bench.board.published(told.slot).pending == 9)

    play(scene)


def test_a_fault_of_a_scraper_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bench = Bench()
        monkeypatch.setattr("gateway.control.entry.Entry.publish", lambda *_: 1 / 0)
        async with asyncio.timeout(5), bench.server:
            bench.sync(bench.here())
            with pytest.raises(ZeroDivisionError):
                await bench.fleet.run()

    asyncio.run(run())


def a_place(address: str, metrics: str | None = None) -> list[Place]:
    return [Place("p", 0, Endpoint(address, metrics=metrics), EndpointState(address, True))]


def test_where_the_page_is() -> None:
    pools = {"p": Pool(metrics=Settings(port=9002))}
    places = {
        "gpu-0:8001": a_place("gpu-0:8001"),
        "[::1]:8001": a_place("[::1]:8001"),
        "gpu-1:8001": a_place("gpu-1:8001", "mon:1234"),
    }
    found = sources(pools, places)
    assert [source.address for source in found.values()] == ["gpu-0:9002", "[::1]:9002", "mon:1234"]


def test_a_page_that_could_be_anothers_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    pools = {"p": Pool()}
    places = {address: a_place(address) for address in ("h:8001", "h:9001", "other:8001")}
    assert list(sources(pools, places)) == ["other:8001"]
    places["h:8001"] = a_place("h:8001", "h:8002")
    assert list(sources(pools, places)) == ["h:8001", "other:8001"]

    async def scene(bench: Bench) -> None:
        caplog.set_level(logging.WARNING)
        for _ in range(3):
            bench.sync(Endpoint("h:8001"), Endpoint("h:9001"))
        assert [vars(record)["endpoints"] for record in caplog.records] == [["h:8001", "h:9001"]]
        assert not bench.fleet.paged("h:8001")

    play(scene)
