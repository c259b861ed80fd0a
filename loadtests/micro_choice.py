"""What a choice costs: `python -m loadtests.micro_choice`.

Time of one core, in nanoseconds: a choice of the pool, then the lease that it leads to and its release, for each picker
and number of endpoints and models. Requests go round all models; of the endpoints, a part has requests in flight as at
a load of 0.8, or all have. A figure that grows with a number shows that something is looked through that should not be.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from config.pools import Pick
from loadtests.report.markdown import grid
from loadtests.simulate.gateway import NoChannel, Version
from routing.aperture import Aperture
from routing.call import Call
from routing.endpoint import Endpoint
from routing.fleet import Fleet, Lease
from routing.load_board import LoadBoard
from routing.pickers import Tools, make
from routing.pool import Pool
from transcoding.methods import BY_NAME

ENDPOINTS = (4, 64, 1024)
MODELS = (10, 1_000, 10_000)
CHOICES = 20_000
ROUNDS = 3


class Row(NamedTuple):
    """A picker, among how many gateways, and requests in flight for each endpoint of a gateway's share."""

    name: str
    pick: str
    gateways: int = 1
    busy: float = 0.8


TABLE = (
    Row("expected_wait", "expected_wait"),
    Row("expected_wait, all endpoints busy", "expected_wait", busy=2.5),
    Row("expected_wait, one of 8 gateways", "expected_wait", gateways=8),
    Row("expected_wait, one of 8, all busy", "expected_wait", gateways=8, busy=2.5),
    Row("least_inflight", "least_inflight"),
    Row("round_robin", "round_robin"),
    Row("hash_ring", "hash_ring"),
)


class Bench:
    """A pool with so many endpoints, each with all models READY, as one of `gateways`."""

    def __init__(self, pick: str, endpoints: int, models: int, gateways: int) -> None:
        self._rng = random.Random(1)
        board = LoadBoard.create(None, endpoints + models, 4)
        aperture = Aperture(self._rng)
        aperture.place(0, [1.0] * gateways)
        self.tools = Tools(Fleet(board, 0), aperture, self._rng)
        names = [f"model-{number}" for number in range(models)]
        inventory = {name: {"1": Version(endpoints + number)} for number, name in enumerate(names)}
        for number in range(models):
            board.publish(endpoints + number, service=0.02, at=time.monotonic())
        self.pool = Pool("p", make(Pick(pick), self.tools))
        self.pool.set_endpoints(self._endpoints(endpoints, inventory))
        self.calls = [Call(BY_NAME["ModelInfer"], name, "1", (b"\0" * 100,)) for name in names]

    def _endpoints(self, count: int, inventory: dict[str, dict[str, Version]]) -> Iterable[Endpoint]:
        for number in range(count):
            endpoint = Endpoint(f"gpu-{number}:8001", NoChannel(), self.tools.fleet)
            endpoint.learn(True, True, "", inventory, number)
            yield endpoint

    def run(self, choices: int, in_flight: int) -> tuple[float, float]:
        """Seconds of a choice with its lease, and of a lease alone, while so many requests are in flight."""
        held: deque[Lease] = deque()
        keys = [b"user-%d" % number for number in range(5003)]
        pool, calls = self.pool, self.calls
        for number in range(in_flight):
            call = calls[number % len(calls)]
            held.append(pool.choose(call).take(call))
        started = time.perf_counter()
        for number in range(choices):
            call = calls[number % len(calls)]
            call.hash_key = keys[number % len(keys)]
            held.append(pool.choose(call).take(call))
            held.popleft().release(ok=True)
        whole = (time.perf_counter() - started) / choices
        started = time.perf_counter()
        for number in range(choices):
            call = calls[number % len(calls)]
            held.append(pool.endpoints[number % len(pool.endpoints)].take(call))
            held.popleft().release(ok=True)
        lease = (time.perf_counter() - started) / choices
        for each in held:
            each.release()
        return whole, lease


def measure(row: Row, endpoints: int, models: int, choices: int = CHOICES) -> tuple[float, float]:
    """Nanoseconds of a choice and of a lease, the least of some rounds, once all models were asked for."""
    bench = Bench(row.pick, endpoints, models, row.gateways)
    in_flight = max(1, int(row.busy * endpoints / row.gateways))
    bench.run(2 * models, in_flight)
    gc.collect()
    rounds = [bench.run(choices, in_flight) for _ in range(ROUNDS)]
    lease = min(lease for _, lease in rounds)
    return (min(whole for whole, _ in rounds) - lease) * 1e9, lease * 1e9


def main() -> int:
    """Print the table."""
    rows = []
    for row in TABLE:
        for endpoints in ENDPOINTS:
            cells = [measure(row, endpoints, models) for models in MODELS]
            rows.append([row.name, f"{endpoints:,}", *(f"{choice:,.0f} + {lease:,.0f}" for choice, lease in cells)])
            print(f"\r{row.name} {endpoints}\x1b[K", end="", file=sys.stderr, flush=True)
    print("\r\x1b[K", end="", file=sys.stderr)
    compiled = Path(str(sys.modules["routing.endpoint"].__file__)).suffix != ".py"
    print(f"ns of a choice + of its lease, {'compiled' if compiled else 'interpreted'}\n")
    print(grid(["picker", "endpoints", *(f"{models:,} models" for models in MODELS)], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
