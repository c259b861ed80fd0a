"""How much may come, and how much at once. A real store is asked, whose own time is not in the figures."""

from __future__ import annotations

from typing import Any

from loadtests.costs.case import Case, Cases, Stage, a_call, a_policy, again, services
from policies import Siblings
from routing.identity import Identity

ALICE = Identity("alice", "acme", frozenset({"infer"}), "api_key")
PLENTY: dict[str, Any] = {"rate": "100000000/s", "burst": 100_000_000}
AT_A_TIME = (1, 16)


async def cases(stage: Stage) -> Cases:
    """Rates by each mode, then concurrency."""
    call = again(a_call(caller=ALICE))
    shared = services(siblings=Siblings(stage.directory, 0, 8))
    windows: list[Any] = [PLENTY, {**PLENTY, "rate": "1000000000/min"}]
    quiet = a_policy("rate_limit", mode="local", headers=False, **PLENTY)
    yield Case("rate_limit", "local, one worker, no headers", quiet, call)
    yield Case("rate_limit", "local, one worker", a_policy("rate_limit", mode="local", **PLENTY), call)
    yield Case("rate_limit", "local, of 8 workers", a_policy("rate_limit", shared, mode="local", **PLENTY), call)
    two = a_policy("rate_limit", shared, mode="local", windows=windows)
    yield Case("rate_limit", "local, of 8 workers, two windows", two, call)
    if stage.state is not None:
        for mode in ("leased", "exact"):
            for at_a_time in AT_A_TIME:
                policy = a_policy("rate_limit", services(state=stage.state), mode=mode, **PLENTY)
                yield Case("rate_limit", f"{mode}, {at_a_time} at a time", policy, call, at_a_time=at_a_time)
    yield Case("concurrency", "one worker", a_policy("concurrency", limit={"fixed": 64}), call)
    yield Case("concurrency", "of 8 workers", a_policy("concurrency", shared, limit={"fixed": 64}), call)
    adaptive = {"adaptive": {"initial": 8, "max": 64}}
    yield Case("concurrency", "adaptive", a_policy("concurrency", limit=adaptive), call)
