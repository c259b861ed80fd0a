"""What limits cost is measured of policies that let the call through."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loadtests.micro_limits import at_once
from loadtests.micro_policies import Case, answer, measure
from routing.call import link


def test_each_case_lets_its_calls_through_and_can_be_measured(tmp_path: Path) -> None:
    for case in at_once(tmp_path):
        asyncio.run(_pass(case))
        assert measure(case, 2) < 1e6


async def _pass(case: Case) -> None:
    calls = case.calls()
    for _ in range(10):
        await link([case.policy], answer)(next(calls))
