"""The bench of the state asks a real store in each way."""

from __future__ import annotations

import asyncio

from loadtests.micro_state import TASKS, table
from tests.support.valkey import Valkey


def test_each_way_takes_time(valkey: Valkey) -> None:
    rows = asyncio.run(table(valkey.socket, commands=128, rounds=1))
    assert [row[0] for row in rows] == ["ours", "redis-py", "redis-py, gathered"]
    for row in rows:
        assert len(row) == 1 + len(TASKS)
        assert all(float(part) > 0 for cell in row[1:] for part in cell.split(" / "))
