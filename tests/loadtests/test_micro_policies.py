"""What policies cost is measured of all that there are, each of which lets the call through."""

from __future__ import annotations

import asyncio

import pytest

from loadtests import micro_policies
from loadtests.costs import bodies
from loadtests.costs.case import Stage
from loadtests.costs.measure import measure
from loadtests.costs.pools import answer
from policies import registry
from routing.call import link


def test_each_policy_is_measured_and_lets_its_calls_through() -> None:
    async def measured() -> tuple[set[str], dict[str, float]]:
        kinds, costs = set(), {}
        async with micro_policies.a_stage() as stage:
            async for case in micro_policies.cases(stage):
                kinds.add(case.kind)
                assert case.title not in costs
                costs[case.title] = await measure(case._replace(per_round=10), 2)
        return kinds, costs

    kinds, costs = asyncio.run(measured())
    assert kinds == {*registry()}
    assert {f"rate_limit: {mode}, 1 at a time" for mode in ("leased", "exact")} < {*costs}
    assert all(abs(cost) < 1e7 for cost in costs.values())


def test_calls_are_as_the_names_of_the_cases_say() -> None:
    async def told() -> dict[str, str]:
        found = {}
        async for case in bodies.cases(Stage("/nowhere")):
            for _ in range(2):
                call = next(case.calls())
                await link([case.policy], answer)(call)
            found[case.title] = dict(call.told or ()).get(b"penstock-cache", b"").decode()
        return found

    seen = {title: how for title, how in asyncio.run(told()).items() if how}
    assert seen == {"cache: hit": "hit", "cache: passed by, as the client wants": "bypass"}


def test_the_page_has_a_column_for_each_build() -> None:
    page = micro_policies.page({"ns, interpreted": {"a": 1234.4}, "ns, compiled": {"a": 1000.0}}, 7)
    assert "| a | 1,234 | 1,000 |" in page.splitlines()
    assert "7 rounds" in page


def test_the_table_of_this_build(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def costs(rounds: int) -> dict[str, float]:
        return {"a policy": float(rounds)}

    monkeypatch.setattr(micro_policies, "costs", costs)
    assert micro_policies.main(["--rounds", "3"]) == 0
    assert "| a policy | 3 |" in capsys.readouterr().out
