"""What the runs of a simulation say: for each scenario and choice the mean over its seeds, and what is owed."""

from __future__ import annotations

import msgspec

from loadtests.simulate.run import Outcome

OURS = "ours"


class Aim(msgspec.Struct, frozen=True):
    """Our p99 is owed to be at most `limit` times that of `peer`."""

    peer: str
    limit: float


AIMS = (Aim("oracle", 1.6), Aim("two-own", 0.6), Aim("round-robin", 1.0))


class ScenarioResult(msgspec.Struct, frozen=True):
    """The outcomes of one scenario by choice; `owed` says whether the aims are meant for it."""

    name: str
    title: str
    outcomes: dict[str, Outcome]
    owed: bool = True

    def ratio(self, peer: str) -> float | None:
        """Our p99 over that of `peer`."""
        ours, other = self.outcomes.get(OURS), self.outcomes.get(peer)
        return ours.p99 / other.p99 if ours and other else None

    def missed(self) -> list[Aim]:
        """The aims that do not hold."""
        ratios = [(aim, self.ratio(aim.peer)) for aim in AIMS] if self.owed else []
        return [aim for aim, ratio in ratios if ratio is not None and ratio > aim.limit]

    def bounds(self, aim: Aim) -> dict[str, float]:
        """As parts of the aim's peer: what a request takes that never waits and runs where it is fastest, the oracle,
        and gateways that see each other's requests at once, but not those of others."""
        peer = self.outcomes.get(aim.peer)
        if peer is None:
            return {}
        found = {"service": peer.service / peer.p99}
        for name in ("oracle", "informed"):
            if name in self.outcomes and name != aim.peer:
                found[name] = self.outcomes[name].p99 / peer.p99
        return found

    def impossible(self, aim: Aim) -> bool:
        """A request alone, or the oracle, takes longer than the aim says."""
        bounds = self.bounds(aim)
        return max(bounds.get("service", 0.0), bounds.get("oracle", 0.0)) > aim.limit


class Document(msgspec.Struct, frozen=True):
    """A whole simulation: requests and seeds of each run, and the scenarios."""

    requests: int
    seeds: int
    scenarios: list[ScenarioResult]


def mean(outcomes: list[Outcome]) -> Outcome:
    """Figure by figure; of recoveries the last."""
    count = len(outcomes)
    return Outcome(
        p50=sum(each.p50 for each in outcomes) / count,
        p99=sum(each.p99 for each in outcomes) / count,
        mean=sum(each.mean for each in outcomes) / count,
        utilisation=sum(each.utilisation for each in outcomes) / count,
        service=sum(each.service for each in outcomes) / count,
        recovered=max(each.recovered for each in outcomes) if min(each.recovered for each in outcomes) >= 0 else -1.0,
    )
