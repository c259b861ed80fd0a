"""What control does for which pool; loads, and what is wrong, by pool."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from config.schema import DesiredModel, Endpoint, Models, Pool
from gateway.control.keeper import Keeper, Keepers, PoolFleet, folder_bytes
from gateway.control.managed import Ground
from gateway.control.withdrawal import Withdrawals
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, ModelVersion, Outcome
from routing.load_board import LoadBoard
from tests.support.deadline import eventually
from tests.support.gateway_process import a_config
from tests.support.shell_triton import ShellTritons

STATE = EndpointState("127.0.0.1:1", True, True, {"m": {"1": ModelVersion("READY")}})


async def reached(generation: int) -> bool:
    return True


class Bench:
    def __init__(self, ground: Ground | None, **pools: Pool) -> None:
        self.refreshed: list[tuple[str, str]] = []
        self.config = msgspec.structs.replace(a_config("gpu:1", listen="127.0.0.1:1"), pools=pools, routes=())
        withdrawals = Withdrawals(LoadBoard.create(None, 4, 1), lambda: 1, reached)
        self.fleet = PoolFleet("p", self.told, self.refresh, withdrawals)
        self.keepers = Keepers(self.config, Metrics(), withdrawals, self.told, self.refresh, ground)

    def told(self, pool: str) -> tuple[EndpointState, ...]:
        return (STATE,)

    async def refresh(self, pool: str, address: str) -> None:
        self.refreshed.append((pool, address))


def test_only_pools_that_need_it_are_kept(tmp_path: Path) -> None:
    tritons = ShellTritons(tmp_path)

    async def run() -> None:
        ground = Ground(str(tmp_path / "records"), str(tmp_path / "logs"), tritons.lifeline)
        plain = Pool((Endpoint("gpu:1"),))
        explicit = Pool((Endpoint("gpu:2"),), models=Models(mode="explicit", load=(DesiredModel("m"),)))
        bench = Bench(ground, plain=plain, explicit=explicit, own=tritons.pool())
        assert list(bench.keepers.sources()) == ["own"]
        assert (await bench.keepers.load("plain", "m", print)).state == "unknown"
        assert (await bench.keepers.load("explicit", "m", print)).state == "unknown"
        bench.keepers.wake()
        await bench.keepers.stop(1.0)

    try:
        asyncio.run(run())
    finally:
        tritons.close()


def test_a_pool_on_demand_loads(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench(None, p=Pool((Endpoint("127.0.0.1:1"),), models=Models(mode="on_demand")))
        assert await bench.keepers.load("p", "m", print) == Outcome("ready")
        assert (await bench.keepers.load("p", "other", print)).state == "unknown"

    asyncio.run(run())


def test_what_is_wrong_is_told_by_pool() -> None:
    async def run() -> None:
        models = Models(mode="explicit", load=(DesiredModel("n", "no JSON"),))
        bench = Bench(None, p=Pool((Endpoint("127.0.0.1:1"),), models=models), q=Pool((Endpoint("127.0.0.1:2"),)))
        running = asyncio.ensure_future(bench.keepers.run())
        desired = bench.keepers._keepers["p"].desired

        async def index(timeout: float) -> dict[str, dict[str, ModelVersion]]:
            return {}

        desired._sites.client("127.0.0.1:1").index = index  # type: ignore[method-assign]
        troubles = await eventually(bench.keepers.troubles)
        assert list(troubles) == ["p"]
        assert troubles["p"][0].startswith("model n at 127.0.0.1:1: its configuration is not JSON")
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())


def test_memory_is_that_of_gpus_where_there_are_any_else_of_the_process(tmp_path: Path) -> None:
    tritons = ShellTritons(tmp_path)

    async def run() -> None:
        bench = Bench(None)
        pool = tritons.pool(repository=(str(tmp_path / "models"),))
        gpus = {"gpu:1": 5}
        keeper = Keeper("p", pool, bench.fleet, Metrics(), None, gpus.get)
        assert keeper._memory("gpu:1") == 5
        assert keeper._memory("cpu:1") is None
        (tmp_path / "models" / "m" / "1").mkdir(parents=True)
        (tmp_path / "models" / "m" / "1" / "weights").write_bytes(bytes(1000))
        (tmp_path / "models" / "m" / "config.pbtxt").write_bytes(bytes(10))
        assert keeper._folder("m") == 1010
        assert keeper._folder("n") is None

    try:
        asyncio.run(run())
    finally:
        tritons.close()


def test_files_that_cannot_be_read_have_no_size(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(bytes(3))
    assert folder_bytes(str(tmp_path)) == 3


def test_a_pool_sees_its_own_endpoints() -> None:
    async def run() -> None:
        bench = Bench(None)
        assert bench.fleet.states() == (STATE,)
        await bench.fleet.refresh("127.0.0.1:1")
        assert bench.refreshed == [("p", "127.0.0.1:1")]
        assert bench.fleet.in_flight("127.0.0.1:1", "m") == 0

    asyncio.run(run())
