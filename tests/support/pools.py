"""Endpoints, calls and pools for tests of routing, with channels that answer from a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.pools import Outliers, Pick
from routing.call import Call, Reply
from routing.endpoint import Channel, Endpoint
from routing.health import Health
from routing.pickers import Tools, make
from routing.pool import Pool
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError

OK = b"\0\0\0\0\0"


@dataclass(frozen=True)
class State:
    state: str
    reason: str = ""
    slot: int = -1
    load: int = 0


class ScriptedChannel:
    """Answers each call with the next of `answers`, the last one for ever."""

    def __init__(self, *answers: GatewayError | bytes, connected: bool = True) -> None:
        self.connected = connected
        self.calls: list[Call] = []
        self._answers = list(answers) or [OK]

    def hurry(self) -> None:
        """It is always connected, or never."""

    async def unary(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, GatewayError):
            raise answer
        return Reply(answer, call.endpoint)


class First:
    """A picker without any choice."""

    wants = ""

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        return candidates[0]


def an_endpoint(
    address: str = "a:1", models: dict[str, dict[str, str]] | None = None, channel: Channel | None = None
) -> Endpoint:
    """A live endpoint; its inventory is unknown when `models` is None."""
    endpoint = Endpoint(address, channel or ScriptedChannel())
    endpoint.live = True
    endpoint.known = models is not None
    endpoint.inventory = {
        name: {version: State(state) for version, state in versions.items()}
        for name, versions in (models or {}).items()
    }
    return endpoint


def a_pool(
    endpoints: Sequence[Endpoint],
    pick: str | Pick = "round_robin",
    on_retry: Callable[[str, str], None] | None = None,
    tools: Tools | None = None,
    *,
    name: str = "p",
    outliers: Outliers | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Pool:
    """A pool of these; `pick` is a kind of picker, or "first" for the first of the candidates."""
    health = Health(name, outliers or Outliers(), clock)
    spec = Pick(pick) if isinstance(pick, str) else pick
    picker = First() if spec.kind == "first" else make(spec, tools)
    pool = Pool(name, picker, on_retry, health, clock)
    pool.set_endpoints(endpoints)
    return pool


def a_call(model: str = "m", version: str = "", sequence: str = "") -> Call:
    return Call(BY_NAME["ModelInfer"], model, version, (OK,), sequence=sequence)
