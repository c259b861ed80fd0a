"""One endpoint: its rows and what is published there."""

from __future__ import annotations

import asyncio

from config.schema import Metrics as Settings
from gateway.control.entry import Entry, Models, ready
from gateway.control.pace import Budget
from gateway.control.page_client import PageClient
from gateway.control.scraper import Scraper
from gateway.control.slots import Slots
from gateway.telemetry.metrics import Metrics
from gateway.world import ModelVersion
from routing.load_board import LoadBoard, Published
from tests.support.metrics_pages import page

READY, LOADING = ModelVersion("READY"), ModelVersion("LOADING")
M1, M2 = ("m", "1"), ("m", "2")


class Bench:
    def __init__(self) -> None:
        self.board = LoadBoard.create(None, 16, 2)
        self.slots = Slots(self.board)
        self.entry = Entry("gpu:8001", self.slots, self.board)
        self.scraper = Scraper(
            "gpu:8001", Settings(), PageClient("127.0.0.1:1", "/"), self.entry.own, lambda *_: None, lambda: None,
            Metrics(), asyncio.Semaphore(1), Budget(), lambda: 50.0,
        )  # fmt: skip


def test_only_what_is_ready_has_a_row() -> None:
    bench = Bench()
    models: Models = {"m": {"1": READY, "2": LOADING}, "n": {}}
    (told,) = bench.entry.take([models])
    assert told["m"]["1"].slot == bench.entry.keys[M1] >= 0
    assert (told["m"]["2"], told["n"]) == (LOADING, {})
    assert ready(models) == [M1]
    assert bench.entry.slot not in bench.entry.keys.values()


def test_a_model_that_is_ready_no_more_gives_its_row_back_and_the_others_keep_theirs() -> None:
    bench = Bench()
    bench.entry.take([{"m": {"1": READY, "2": READY}}])
    one, two = bench.entry.keys[M1], bench.entry.keys[M2]
    bench.entry.take([{"m": {"1": LOADING, "2": READY}}])
    assert bench.entry.keys == {M2: two}
    (told,) = bench.entry.take([{"m": {"1": READY, "2": READY}}])
    assert (told["m"]["1"].slot, told["m"]["2"].slot) == (one, two)


def test_what_did_not_change_is_not_made_anew() -> None:
    bench = Bench()
    models: Models = {"m": {"1": READY}}
    assert bench.entry.take([models])[0] is bench.entry.take([models])[0]


def test_in_two_pools_it_is_one() -> None:
    bench = Bench()
    first, second = bench.entry.take([{"m": {"1": READY}}, {"m": {"1": READY, "2": READY}}])
    assert first["m"]["1"].slot == second["m"]["1"].slot
    assert set(bench.entry.keys) == {M1, M2}
    first, second = bench.entry.take([{"m": {"1": READY}}, {"m": {"1": LOADING}}])
    assert (first["m"]["1"].slot, second["m"]["1"]) == (bench.entry.keys[M1], LOADING)


def test_in_flight_is_told_by_model() -> None:
    bench = Bench()
    bench.entry.take([{"m": {"1": READY, "2": READY}}])
    assert not bench.entry.busy
    assert bench.entry.own() == {}
    for worker, key in ((0, M1), (1, M1), (1, M2)):
        for slot in (bench.entry.slot, bench.entry.keys[key]):
            bench.board.worker(worker).add(slot, 0.1)
    assert bench.entry.busy
    assert bench.entry.own() == {M1: 2, M2: 1}


def test_a_page_is_published() -> None:
    bench = Bench()
    bench.entry.scraper = bench.scraper
    bench.entry.take([{"m": {"1": READY}}])
    bench.scraper._take(
        page({M1: {"pending": 3, "success": 2, "executions": 2, "infer_us": 40_000}, M2: {"pending": 2}}), {}
    )
    bench.entry.publish({M1, M2}, 50.0)
    one = bench.board.published(bench.entry.keys[M1])
    assert one == Published(pending=3, service=0.02, foreign=0.06, at=50.0, own_at=0)
    both = bench.board.published(bench.entry.slot)
    assert (both.pending, both.at) == (5, 50.0)
    assert both.foreign == bench.scraper.load.total().foreign > 0.06


def test_a_model_that_is_ready_later_than_its_page_was_read_is_published_at_once() -> None:
    bench = Bench()
    bench.entry.scraper = bench.scraper
    bench.scraper._take(page({M1: {"success": 2, "executions": 2, "infer_us": 40_000}}), {})
    bench.entry.take([{"m": {"1": READY}}])
    assert bench.board.service(bench.entry.keys[M1]) == 0.02


def test_without_rows_it_goes_on() -> None:
    board = LoadBoard.create(None, 1, 1)
    entry = Entry("a", Slots(board), board)
    other = Entry("b", Slots(LoadBoard.create(None, 0, 1)), board)
    (told,) = entry.take([{"m": {"1": READY}}])
    assert told["m"]["1"].slot == -1
    assert other.slot == -1
    assert (other.busy, other.own(), other.gpus, other.model(M1)) == (False, {}, (), None)
    other.publish({M1}, 1.0)
