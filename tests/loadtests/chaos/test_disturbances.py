"""What one disturbance has in hand no other touches, and all kinds are known."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from loadtests.chaos.disturbances import CONTROL, KILLS, KINDS, TRITONS, WORKERS, Disturber, target


def test_targets() -> None:
    assert target("kill triton 0") == target("unload at triton 0") == target("slow down triton 0") == "triton 0"
    assert target("kill worker 1") == target("stop worker 1") == "worker 1"
    assert target("kill managed") == target("stop managed") == "managed"
    assert target("kill control") == "control"


def test_kinds() -> None:
    assert WORKERS.keys() > KILLS
    assert KINDS["everything"] == TRITONS | WORKERS | CONTROL


def test_two_at_once_at_different_targets() -> None:
    most: list[set[str]] = []

    async def disturb(stage: Any, rng: random.Random) -> None:
        most.append(set(disturber.now))
        await asyncio.sleep(0.05)

    async def main() -> None:
        nonlocal disturber
        names = ("kill triton 0", "stop triton 0", "kill triton 1", "kill worker 0", "kill control")
        disturber = Disturber(None, random.Random(1), dict.fromkeys(names, disturb), pause=(0.0, 0.01))  # type: ignore[arg-type]
        counts = await disturber.run(0.5)
        assert counts.total() == len(most) > 5
        assert not disturber.now

    disturber: Disturber
    asyncio.run(main())
    assert max(map(len, most)) == 2
    assert all(len(set(map(target, each))) == len(each) for each in most)
