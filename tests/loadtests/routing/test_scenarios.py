"""The scenarios: rates that follow from what is left, and aims at what they measure."""

from __future__ import annotations

import pytest

from loadtests.routing.peers import BALANCERS
from loadtests.routing.scenarios import AIMS, LOAD, LOADED, RIVAL, SCENARIOS, SUBJECT

BY_NAME = {each.name: each for each in SCENARIOS}


@pytest.mark.parametrize(("name", "left"), [("slow", 325.0), ("loaded", 330.0), ("both", 255.0)])
def test_the_rate_is_of_the_capacity_that_is_left(name: str, left: float) -> None:
    assert BY_NAME[name].rate == pytest.approx(LOAD * left)


def test_servers_are_called_by_what_hinders_them() -> None:
    both = BY_NAME["both"]
    names = [both.server(index) for index in range(4)]
    assert names == ["Triton 1, loaded by another", "Triton 2", "Triton 3", "Triton 4, 4x slower"]
    assert BY_NAME["loaded"].server(3) == "Triton 4"


def test_a_goal_for_the_loaded_server_is_the_part_of_it_that_is_free() -> None:
    for aim in AIMS:
        if aim.metric == f"share_{LOADED + 1}":
            scenario = BY_NAME[aim.row]
            free = scenario.speeds()[LOADED] - scenario.others_rate
            assert aim.goal == pytest.approx(100 * free / (scenario.rate / LOAD), abs=0.05)


def test_aims_are_of_scenarios_and_peers_that_there_are() -> None:
    names = {kind.name for kind in BALANCERS}
    assert {aim.row for aim in AIMS} == set(BY_NAME)
    assert {aim.peer for aim in AIMS} - {None} == {RIVAL} < names
    assert SUBJECT in names
