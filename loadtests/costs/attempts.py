"""How often a call is sent, where else, and for how long: what that costs where the first attempt is answered."""

from __future__ import annotations

from loadtests.costs.case import Case, Cases, Stage, a_call, a_policy, again, services
from loadtests.costs.pools import a_pool, answer

WARM = 100
COPIES = 10_000
"""Copies that may be under way: more than are made before they have their turn."""


async def cases(stage: Stage) -> Cases:
    """Nothing goes wrong, so nothing is sent twice, but for copies."""
    call = again(a_call())
    pools = services(pools={"p": a_pool()})
    yield Case("timeout", "", a_policy("timeout", total=2.0), call)
    yield Case("retry", "", a_policy("retry"), call)
    hedge = a_policy("hedge", pools, idempotent=True)
    for _ in range(WARM):  # until it knows how long calls take, it sets no timer
        await hedge(a_call(), answer)
    yield Case("hedge", "", hedge, call)
    yield Case("fallback", "", a_policy("fallback", pools, to={"pool": "p"}), call)
    every = a_policy("mirror", pools, to={"pool": "p"}, in_flight=COPIES)
    yield Case("mirror", "each call, with its copy", every, call, turns=3)
    some = a_policy("mirror", pools, to={"pool": "p"}, in_flight=COPIES, share=0.01)
    yield Case("mirror", "one in a hundred calls", some, call, turns=3)
