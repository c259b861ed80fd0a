"""The turns: who takes part when, what counts, and what becomes of a peer that fails. The load is a stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from loadtests.exchange import Address, Exchange
from loadtests.load.client import LoadError, Reply
from loadtests.load.timetable import Answered
from loadtests.peers import Backend
from loadtests.results import RowResult
from loadtests.routing import rounds
from loadtests.routing.fleet import Endpoint
from loadtests.routing.peers import Balancer, EnvoyLeastRequest, EnvoyRoundRobin, PenstockExpectedWait
from loadtests.routing.rounds import Contest, Effort
from loadtests.routing.scenarios import SCENARIOS, Scenario
from tests.loadtests.routing.test_fleet import answer

EFFORT = Effort("test", rounds=3, reference_rounds=1, warm_up=1.0, seconds=2.0, rest=0.0)
SLOW, LOADED, _ = SCENARIOS
ENDPOINTS = [
    Endpoint(Backend(Address("h", 10 + i), Address("h", 20 + i), "0", 1), Address("h", 30 + i)) for i in range(4)
]


class Load:
    """Answers at once: requests in the warm-up take 9 s from server 3, later ones 10 ms from server 1."""

    def __init__(self, failing: set[int]) -> None:
        self.asked: list[tuple[int, list[float]]] = []
        self._failing = failing

    async def keep(self, exchange: Exchange, address: Address, timetable: Sequence[float], _: int) -> list[Answered]:
        self.asked.append((address.port, list(timetable)))
        if address.port in self._failing:
            raise LoadError("HTTP status 503")
        return [Answered(due, 0.001, *self._answer(due)) for due in timetable]

    def _answer(self, due: float) -> tuple[float, Reply]:
        return (9.0, answer("SERVER", 3)) if due < EFFORT.warm_up else (0.01, answer("SERVER", 1))

    def of(self, port: int) -> list[list[float]]:
        return [timetable for asked, timetable in self.asked if asked == port]


def contest(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: set[int] | None = None
) -> tuple[RowResult, Load, dict[str, int]]:
    """The result, the load, and the port of each peer by name."""
    kinds = cast("tuple[type[Balancer], ...]", (PenstockExpectedWait, EnvoyLeastRequest, EnvoyRoundRobin))
    peers = [kind(ENDPOINTS, tmp_path) for kind in kinds]
    for port, peer in enumerate(peers, 1):
        peer.address = Address("h", port)
    load = Load(failing or set())
    monkeypatch.setattr(rounds, "keep", load.keep)
    result = Contest(scenario, peers, ENDPOINTS, EFFORT, lambda line: None).run()
    return result, load, {peer.name: peer.address.port for peer in peers}


def test_what_counts_is_what_was_due_after_the_warm_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, _, _ = contest(SLOW, monkeypatch, tmp_path)
    figures = result.samples["envoy_least_request"]
    assert figures["p50_ms"] == figures["p99_ms"] == [pytest.approx(10.0)] * 3
    assert [figures[f"share_{index}"] for index in range(1, 5)] == [[0.0] * 3, [100.0] * 3, [0.0] * 3, [0.0] * 3]
    assert set(figures) == {*result.metrics, *result.shares}
    assert result.facts["ms_that_99%_were_sent_late_at_most"] == 1.0


def test_the_other_client_asks_the_loaded_one_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, load, _ = contest(LOADED, monkeypatch, tmp_path)
    direct = load.of(20)
    assert len(direct) == 7
    assert all(len(timetable) == pytest.approx(70 * 3, rel=0.3) for timetable in direct)
    assert result.samples["penstock_expected_wait"]["others_p99_ms"] == [pytest.approx(10.0)] * 3
    assert set(result.samples["penstock_expected_wait"]) == {*result.metrics, *result.shares}


def test_peers_get_the_same_moments_and_those_for_reference_fewer_rounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result, load, ports = contest(SLOW, monkeypatch, tmp_path)
    ours, envoys, reference = (load.of(port) for port in ports.values())
    assert ours == envoys
    assert len({tuple(timetable) for timetable in ours}) == 3
    assert reference == ours[:1]
    assert len(result.samples["envoy_round_robin"]["p99_ms"]) == 1
    compared = result.ratio("penstock_expected_wait", "envoy_round_robin", "p99_ms")
    assert compared is not None
    assert (compared.median, compared.rounds) == (1.0, 1)


def test_a_peer_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, load, _ = contest(SLOW, monkeypatch, tmp_path, failing={2})
    assert result.failed == {"envoy_least_request": "LoadError: HTTP status 503"}
    assert "envoy_least_request" not in result.samples
    assert len(load.of(2)) == 1
    assert len(result.samples["penstock_expected_wait"]["p99_ms"]) == 3


def test_a_scenario_without_any_answer_is_a_result_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, _, ports = contest(SLOW, monkeypatch, tmp_path, failing={1, 2, 3})
    assert set(result.failed) == set(ports)
    assert result.samples == {}
