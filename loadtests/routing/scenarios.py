"""What is not equal among the Tritons, and what the project aims at in each case."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.results import Aim

SUBJECT = "penstock_expected_wait"
RIVAL = "envoy_least_request"
SERVERS = 4
SERVICE = 0.01
"""Seconds that an unhindered server takes for a request."""
SLOWER = 4.0
LOADED, SLOWED = 0, 3
"""The positions of the server that another client loads, and of the one that is slower."""
OTHERS_SHARE = 0.7
"""Of the loaded server's capacity, what the other client asks for."""
LOAD = 0.65
"""Of the capacity that is left, what is asked for through each proxy."""


@dataclass(frozen=True)
class Scenario:
    """`model` is the one that is asked for: on each server there is one that is slower on one of them, and one that is
    not. `others` is the share of the loaded server's capacity that another client takes directly."""

    name: str
    title: str
    model: str
    slower: float = 1.0
    others: float = 0.0
    note: str = ""

    def speeds(self) -> list[float]:
        """Requests per second that each server can do."""
        return [1.0 / SERVICE / (self.slower if index == SLOWED else 1.0) for index in range(SERVERS)]

    @property
    def others_rate(self) -> float:
        """Requests per second of the other client."""
        return self.others * self.speeds()[LOADED]

    @property
    def rate(self) -> float:
        """Requests per second through the proxy."""
        return LOAD * (sum(self.speeds()) - self.others_rate)

    def server(self, index: int) -> str:
        """What a server is called in the report."""
        what = [f"Triton {index + 1}"]
        if index == SLOWED and self.slower != 1.0:
            what.append(f"{self.slower:g}x slower")
        if index == LOADED and self.others:
            what.append("loaded by another")
        return ", ".join(what)


_ROUND_ROBIN = "Round robin asks for more than the hindered server can do: its p99 grows for as long as a round lasts."

SCENARIOS = (
    Scenario("slow", "One of four Tritons is 4x slower", "uneven", slower=SLOWER, note=_ROUND_ROBIN),
    Scenario(
        "loaded",
        "Another client loads one of four Tritons directly",
        "even",
        others=OTHERS_SHARE,
        note="Only the queue of that Triton tells of the other client. " + _ROUND_ROBIN,
    ),
    Scenario("both", "One is 4x slower, another is loaded directly", "uneven", SLOWER, OTHERS_SHARE, _ROUND_ROBIN),
)

MODELS = {"even": 1.0, "uneven": SLOWER}
"""How much slower each model is on the slowed server."""

_LOADED_SHARE = f"share_{LOADED + 1}"
AIMS = [
    Aim("slow", "p99_ms", RIVAL, 0.7, 0.4, "one of four slower: p99 vs Envoy's least request"),
    Aim("loaded", "p99_ms", RIVAL, 0.7, 0.4, "one of four loaded directly: the same"),
    Aim("both", "p99_ms", RIVAL, 0.7, 0.4, "both: the same"),
    Aim("loaded", _LOADED_SHARE, None, 15.0, 9.1, "one loaded directly: requests to it, % (its turn would be 25)"),
    Aim("both", _LOADED_SHARE, None, 15.0, 11.8, "both: the same"),
]
