"""Tritons are replaced and models reloaded under load, and no request fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.schema import (
    Admin,
    Config,
    DesiredModel,
    Drain,
    Listener,
    Managed,
    Match,
    Models,
    Pool,
    Readiness,
    Route,
    Target,
)
from gateway import cli
from gateway.single import Single
from tests.support.deadline import eventually
from tests.support.gateway_process import free_port
from tests.support.hammer import Hammer
from tests.support.managed_tritons import managed
from tests.support.model_repository import write_repository

pytestmark = [pytest.mark.triton, pytest.mark.slow]

OVERRIDE = {
    "backend": "python",
    "max_batch_size": 8,
    "input": [{"name": f"INPUT{i}", "data_type": "TYPE_INT32", "dims": [16]} for i in (0, 1)],
    "output": [{"name": f"OUTPUT{i}", "data_type": "TYPE_INT32", "dims": [16]} for i in (0, 1)],
    "instance_group": [{"kind": "KIND_CPU", "count": 1}],
}


class Bench:
    """A gateway in this process over two Tritons of its own, with the model `simple`."""

    def __init__(self, repository: Path, models: Models) -> None:
        fields = managed(repository, replicas=2)
        fields |= {"repository": (fields["repository"],), "command": (fields["command"],)}
        fields |= {"arguments": tuple(fields["arguments"]), "backoff": 0.1}
        self.pool = Pool(managed=Managed(**fields), models=models, readiness=Readiness(interval=0.2))
        self.config = Config(
            listen=(Listener(f"127.0.0.1:{free_port()}", name="rest"),),
            pools={"p": self.pool},
            routes=(Route(Match(("*",)), Target("p"), name="all"),),
            admin=Admin("127.0.0.1:0"),
            drain=Drain(0.1, 5.0),
        )
        self.single = Single(self.config, cli.make_data_plane)

    @property
    def address(self) -> str:
        return self.config.listen[0].address

    def states(self) -> list[Any]:
        return [state for state in self.single._plane._pools.get("p", ()) if state.live]

    def ready(self) -> int:
        return sum(
            bool(state.models.get("simple")) and state.models["simple"]["1"].state == "READY" for state in self.states()
        )

    def apply(self, **changes: Any) -> None:
        self.pool = msgspec.structs.replace(self.pool, **changes)
        self.single._plane.keepers.apply(msgspec.structs.replace(self.config, pools={"p": self.pool}))

    def loads(self) -> float:
        return self.single._plane._metrics.counter("penstock_model_loads_total", ("p", "ok")).value


def play(repository: Path, models: Models, scene: Callable[[Bench, Hammer], Coroutine[Any, Any, None]]) -> Hammer:
    async def run() -> Hammer:
        bench = Bench(repository, models)
        running = asyncio.ensure_future(bench.single.run())
        try:
            async with asyncio.timeout(100):
                await eventually(lambda: bench.ready() == 2 and not bench.single._plane.missing(), 60)
                hammer = Hammer(bench.address, lambda: "simple", threads=3)
                hammer.__enter__()
                try:
                    await eventually(lambda: hammer.outcomes["ok"] > 50)
                    await scene(bench, hammer)
                    done = hammer.outcomes["ok"]
                    await eventually(lambda: hammer.outcomes["ok"] > done + 50)
                finally:
                    await asyncio.to_thread(hammer.__exit__)
        finally:
            bench.single.stop()
            await running
        return hammer

    return asyncio.run(run())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "models", ["simple"])


def test_a_rolling_restart_fails_no_request(repository: Path) -> None:
    async def scene(bench: Bench, hammer: Hammer) -> None:
        before = {state.address for state in bench.states()}
        assert bench.pool.managed is not None
        environment = bench.pool.managed.environment | {"CHANGED": "yes"}
        bench.apply(managed=msgspec.structs.replace(bench.pool.managed, environment=environment))
        await eventually(lambda: bench.ready() == 2 and not before & {each.address for each in bench.states()}, 60)
        replicas = bench.single._plane.keepers.sources()["p"]
        await eventually(lambda: replicas.states() == {0: "ready", 1: "ready"}, 30)

    assert play(repository, Models(), scene).failures == {}


def test_models_are_reloaded_without_a_failure(repository: Path) -> None:
    def models(override: dict[str, Any] | None) -> Models:
        config = None if override is None else json.dumps(override)
        return Models(mode="explicit", load=(DesiredModel("simple", config),))

    async def scene(bench: Bench, hammer: Hammer) -> None:
        assert bench.loads() == 2
        bench.apply(models=models(OVERRIDE))  # in place: Triton loads the new one, then lets the old one go
        await eventually(lambda: bench.loads() == 4, 30)
        bench.apply(models=models(None))  # only an unload undoes it: one endpoint after the other
        await eventually(lambda: bench.loads() == 6 and bench.ready() == 2, 30)

    assert play(repository, models(None), scene).failures == {}
