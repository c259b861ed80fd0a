"""The turns of the peers in a scenario, and what one turn measures."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from loadtests.load.timetable import Answered, keep, poisson
from loadtests.measure import percentile, turns
from loadtests.results import RowResult
from loadtests.routing.fleet import Answers, Endpoint
from loadtests.routing.peers import Balancer
from loadtests.routing.scenarios import LOADED, SERVERS, Scenario
from loadtests.workloads.base import PEER_ERRORS, Say, describe

CONNECTIONS = 256
OTHERS_CONNECTIONS = 64
"""More than are ever in flight, so that no request waits for a connection."""


@dataclass(frozen=True)
class Effort:
    """How much a run does: rounds, those in which peers that are for reference take part, in each turn the seconds
    before anything counts and those that count, and seconds of rest after a peer that may have overloaded a Triton."""

    name: str
    rounds: int
    reference_rounds: int
    warm_up: float
    seconds: float
    rest: float


FULL = Effort("full", rounds=5, reference_rounds=2, warm_up=1.0, seconds=4.0, rest=2.0)
QUICK = Effort("quick", rounds=1, reference_rounds=1, warm_up=0.5, seconds=1.0, rest=0.2)


class Contest:
    """One scenario with the peers that run."""

    def __init__(
        self, scenario: Scenario, peers: Sequence[Balancer], endpoints: Sequence[Endpoint], effort: Effort, say: Say
    ) -> None:
        self._scenario, self._effort, self._say = scenario, effort, say
        self._peers = {peer.name: peer for peer in peers}
        self._loaded = endpoints[LOADED].backend.grpc
        self._answers = Answers(scenario.model)
        self._late: list[float] = []

    def run(self) -> RowResult:
        """All rounds. A peer that fails once is left out from then on."""
        scenario = self._scenario
        metrics = ["p50_ms", "p99_ms", *(["others_p99_ms"] if scenario.others else [])]
        shares = {f"share_{index + 1}": scenario.server(index) for index in range(SERVERS)}
        result = RowResult(scenario.name, scenario.title, "p99_ms", metrics, scenario.note, shares=shares)
        for number, order in enumerate(turns(list(self._peers), self._effort.rounds), 1):
            for name in order:
                if name not in result.failed and self._takes_part(name, number):
                    self._turn(result, name, number)
                    time.sleep(self._effort.rest if self._peers[name].reference else 0.0)
        result.facts = {"requests_per_second": round(scenario.rate, 1), "seconds": self._effort.seconds}
        if scenario.others:
            result.facts["requests_per_second_of_the_other_client"] = round(scenario.others_rate, 1)
        if self._late:
            late = round(percentile(sorted(self._late), 0.99) * 1e3, 2)
            result.facts["ms_that_99%_were_sent_late_at_most"] = late
        return result

    def _takes_part(self, name: str, number: int) -> bool:
        return not self._peers[name].reference or number <= self._effort.reference_rounds

    def _turn(self, result: RowResult, name: str, number: int) -> None:
        try:
            figures = uvloop.run(self._measure(self._peers[name], number))
        except PEER_ERRORS as error:
            result.fail(name, describe(error))
            self._say(f"  {name}: failed, {describe(error)}")
            return
        result.add(name, figures)
        self._say(f"  {number}/{self._effort.rounds} {name:24}" + _line(figures))

    async def _measure(self, peer: Balancer, number: int) -> dict[str, float]:
        """One turn. In one round all peers get their requests at the same moments."""
        scenario, exchange = self._scenario, self._answers.exchange
        seconds = self._effort.warm_up + self._effort.seconds
        rng = random.Random(f"{scenario.name} {number}")
        asked = poisson(scenario.rate, seconds, rng)
        others = poisson(scenario.others_rate, seconds, rng) if scenario.others else []
        async with asyncio.TaskGroup() as group:
            through = group.create_task(keep(exchange, peer.address, asked, CONNECTIONS))
            direct = group.create_task(keep(exchange, self._loaded, others, OTHERS_CONNECTIONS))
        return self._figures(self._counted(through.result()), self._counted(direct.result()))

    def _counted(self, answered: list[Answered]) -> list[Answered]:
        return [each for each in answered if each.due >= self._effort.warm_up]

    def _figures(self, answered: list[Answered], others: list[Answered]) -> dict[str, float]:
        self._late.extend(each.late for each in answered)
        seconds = sorted(each.seconds for each in answered)
        servers = Counter(self._answers.server(each.reply) for each in answered)
        figures = {"p50_ms": percentile(seconds, 0.5) * 1e3, "p99_ms": percentile(seconds, 0.99) * 1e3}
        if others:
            figures["others_p99_ms"] = percentile(sorted(each.seconds for each in others), 0.99) * 1e3
        return figures | {f"share_{index + 1}": 100 * servers[index] / len(answered) for index in range(SERVERS)}


def _line(figures: dict[str, float]) -> str:
    shares = "  ".join(f"{figures[f'share_{index + 1}']:4.1f}%" for index in range(SERVERS))
    others = f"  other client p99 {figures['others_p99_ms']:5.0f} ms" if "others_p99_ms" in figures else ""
    return f"p50 {figures['p50_ms']:6.1f} ms  p99 {figures['p99_ms']:7.1f} ms  to each {shares}{others}"
