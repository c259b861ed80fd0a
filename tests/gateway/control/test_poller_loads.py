"""Loads that an index does not show: pools of which answers are kept are looked at more closely."""

from __future__ import annotations

from gateway.control.inventory import Poll
from gateway.world import ModelVersion
from tests.gateway.control.test_poller import Bench, play
from tests.support.deadline import eventually

READY = Poll(live=True, models={"m": {"1": ModelVersion("READY")}})


def test_one_that_is_watched_for_reloads_is_always_asked_for_its_index() -> None:
    async def scene(bench: Bench) -> None:
        bench.paged = True
        await eventually(lambda: bench.script.begun >= 4)

    play(lambda: Bench(interval=0.06, watched={"p"}), scene)


def test_a_model_that_was_loaded_is_another_load() -> None:
    async def scene(bench: Bench) -> None:
        def load() -> int:
            return bench.pollers.states()["p"][0].models["m"]["1"].load

        bench.script.result = READY
        await bench.pollers.refresh("p")
        before = load()
        await bench.pollers.refresh("p")
        assert load() == before
        await bench.pollers.refresh("p", loaded="m")
        assert load() != before

    play(lambda: Bench(interval=60), scene)
