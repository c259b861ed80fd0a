"""What is simulated: who sends how much to what, and how old the gateways' news is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from loadtests.simulate.triton import Batching

NO_BATCHES = Batching()


@dataclass(frozen=True)
class Model:
    """A share of the requests; `mean` seconds each, gamma-distributed with coefficient of variation `cv`."""

    mean: float
    cv: float
    share: float = 1.0


@dataclass(frozen=True)
class Scenario:
    """Poisson arrivals at `load` times what the endpoints can do.

    What a gateway scrapes is between `delay` and `delay` + `period` seconds old when it is used. `slow` is the part of
    the endpoints that is four times slower. `skew` s spreads the gateways' rates evenly from 1 - s to 1 + s.
    `churn`: every so many seconds a gateway joins or leaves. `direct`: load from outside, as a part of what
    `direct_share` of the endpoints can do, beside `load`; `burst`: so many of those requests come together. `counters`:
    control reads service times there; `pages`: it reads pages at all. `cold`: what the first execution at one endpoint
    takes, in seconds. `longer`: times the requests of other scenarios.
    """

    name: str
    title: str
    endpoints: int = 64
    gateways: int = 8
    load: float = 0.8
    models: Mapping[str, Model] = field(default_factory=lambda: {"m": Model(0.02, 0.3)})
    delay: float = 0.05
    period: float = 0.15
    slow: float = 0.0
    skew: float = 0.0
    churn: float = 0.0
    direct: float = 0.0
    direct_share: float = 0.25
    burst: int = 1
    parallel: int = 1
    batching: Batching = NO_BATCHES
    counters: bool = True
    pages: bool = True
    cold: float = 0.0
    members: bool = True
    longer: int = 1


LOW = {"m": Model(0.02, 0.3)}
HIGH = {"m": Model(0.02, 1.0)}
MIXED = {
    "small": Model(0.01, 0.3, 0.6),
    "large": Model(0.06, 0.3, 0.3),
    "rare": Model(0.1, 1.0, 0.1),
}
_BASE = Scenario("low", "low variance, 20 ms")

ACCEPTANCE = (
    _BASE,
    replace(_BASE, name="high", title="high variance, 20 ms", models=HIGH),
    replace(_BASE, name="low-100", title="low variance, 100 ms", models={"m": Model(0.1, 0.3)}),
    replace(_BASE, name="high-100", title="high variance, 100 ms", models={"m": Model(0.1, 1.0)}),
    replace(_BASE, name="slow", title="a quarter of the endpoints 4x slower", slow=0.25),
    replace(_BASE, name="skew", title="gateways unevenly loaded (0.5 to 1.5)", skew=0.5),
    replace(_BASE, name="churn", title="gateways joining and leaving", churn=2.0),
    replace(_BASE, name="direct", title="direct load from outside (a quarter half taken)", direct=0.5),
    replace(_BASE, name="few", title="4 endpoints, 2 gateways", endpoints=4, gateways=2),
    replace(_BASE, name="many", title="1,024 endpoints, 16 gateways", endpoints=1024, gateways=16, longer=2),
)
FURTHER = (
    replace(_BASE, name="alone", title="one gateway", gateways=1),
    replace(_BASE, name="mixed", title="three models, 10 to 100 ms", models=MIXED),
    replace(_BASE, name="batching", title="batches of up to 8", batching=Batching(8, 0.25), load=1.6),
    replace(_BASE, name="bursts", title="bursts of 100 from outside (2 s of work at once)", direct=0.2, burst=100),
    replace(_BASE, name="cold", title="a first inference of 5 s at one endpoint", endpoints=16, gateways=4, cold=5.0),
    replace(
        _BASE,
        name="cold-idle",
        title="a first inference of 5 s at one endpoint, load 0.3",
        endpoints=16,
        gateways=4,
        cold=5.0,
        load=0.3,
    ),
    replace(
        _BASE,
        name="cold-unseen",
        title="a first inference of 5 s at one endpoint, no metrics pages",
        endpoints=16,
        gateways=4,
        cold=5.0,
        pages=False,
    ),
    replace(_BASE, name="slow-idle", title="a quarter of the endpoints 4x slower, load 0.3", slow=0.25, load=0.3),
    replace(
        _BASE,
        name="bursts-unseen",
        title="bursts of 100 from outside, no metrics pages",
        direct=0.2,
        burst=100,
        pages=False,
    ),
    replace(_BASE, name="blind", title="no service times from control", counters=False, slow=0.25),
    replace(_BASE, name="no-store", title="no membership: each gateway thinks it is alone", members=False),
)
ALL = {scenario.name: scenario for scenario in (*ACCEPTANCE, *FURTHER)}
