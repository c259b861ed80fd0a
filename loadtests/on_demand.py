"""Models on demand: many models, room for a few, and clients who ask for them as Zipf says.

Run as `python -m loadtests.on_demand [--models 20] [--room 4] [--tritons 1 2] [--rate 5] [--seconds 60]`. The gateway
runs real Tritons. Requests come at random moments at a set rate, whether or not others were answered, each with a
deadline; what comes sooner than the models can be loaded waits, and fails by its deadline and by nothing else. The most
models that an endpoint had at once is what its own index says, asked again and again, and what the gateway tells.

A request is a miss if it had to wait for its model. The gateway counts those; the slowest answers are theirs. The best
that any order of loads allows is not known; a cache of whole models with immediate loads, the longest unused first out,
says what the traffic itself is like.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway.tasks import spawn
from tests.support.gateway import Gateway
from tests.support.managed_tritons import copies, gateway, managed, metric
from tests.support.messages import infer_request

POOL = "tritons"
LOOK_INTERVAL = 0.03
REPORT_INTERVAL = 1.5
"""Seconds after which control has the workers' last counts."""
HELD = frozenset({"READY", "LOADING", "UNLOADING"})
SUM = np.full((1, 16), 3, np.int32).tobytes()

_messages: Any = service_pb2
_services: Any = service_pb2_grpc


@dataclass(frozen=True)
class Traffic:
    """`rate` requests a second for `seconds`, the model of rank r with a share of r^-`skew`; `deadline` in seconds."""

    models: int = 20
    room: int = 4
    tritons: int = 1
    rate: float = 5.0
    seconds: float = 60.0
    skew: float = 1.2
    deadline: float = 30.0
    seed: int = 1

    def names(self) -> list[str]:
        """All models, the most popular first."""
        return [f"m{number}" for number in range(self.models)]

    def schedule(self) -> list[tuple[float, str]]:
        """When which model is asked for."""
        chance = random.Random(self.seed)
        weights = [(rank + 1) ** -self.skew for rank in range(self.models)]
        at, schedule = 0.0, []
        while (at := at + chance.expovariate(self.rate)) < self.seconds:
            schedule.append((at, chance.choices(self.names(), weights)[0]))
        return schedule


@dataclass
class Outcome:
    """What came of it: latencies in seconds of what was answered well, and how often what else came."""

    traffic: Traffic
    seconds: list[float] = field(default_factory=list)
    late: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    loads: int = 0
    failed_loads: int = 0
    unloads: int = 0
    waits: int = 0
    most_held: int = 0
    most_told: int = 0
    looks: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return len(self.seconds) + self.late + sum(self.failures.values())

    @property
    def hit_rate(self) -> float:
        """The share of all requests that did not wait for their model."""
        return 1 - self.waits / self.requests

    def parts(self) -> tuple[list[float], list[float]]:
        """The latencies of hits and of those misses that were answered, sorted."""
        ordered = sorted(self.seconds)
        hits = max(0, self.requests - self.waits)
        return ordered[:hits], ordered[hits:]


def ideal_hit_rate(traffic: Traffic) -> float:
    """Of a cache that loads at once."""
    held: OrderedDict[str, None] = OrderedDict()
    hits, schedule = 0, traffic.schedule()
    for _, model in schedule:
        hits += model in held
        held[model] = None
        held.move_to_end(model)
        if len(held) > traffic.room * traffic.tritons:
            held.popitem(last=False)
    return hits / len(schedule)


def play(traffic: Traffic, directory: Path) -> Outcome:
    """Run it; `directory` is for the models."""
    repository = copies(directory / "models", traffic.names())
    models = {"mode": "on_demand", "max_loaded": traffic.room, "load_timeout": "120s"}
    pool = {"managed": managed(repository, replicas=traffic.tritons), "models": models}
    outcome = Outcome(traffic)
    with gateway(pool, workers=2) as one:
        while metric(one, "penstock_managed_replicas", state="ready") < traffic.tritons:
            time.sleep(0.1)
        asyncio.run(_play(one, outcome))
        time.sleep(REPORT_INTERVAL)
        outcome.loads = round(metric(one, "penstock_model_loads_total", result="ok"))
        outcome.failed_loads = round(metric(one, "penstock_model_loads_total", result="failed"))
        outcome.unloads = round(metric(one, "penstock_model_unloads_total"))
        outcome.waits = round(metric(one, "penstock_model_waits_total"))
        outcome.told = view(one)["models_on_demand"]
    return outcome


def view(one: Gateway) -> dict[str, Any]:
    """What the gateway tells of the pool."""
    pools: dict[str, dict[str, Any]] = json.loads(one.admin("/v1/fleet")[1])["pools"]
    return pools[POOL]


async def _play(one: Gateway, outcome: Outcome) -> None:
    watch = spawn(_watch(one, outcome), "watch")
    traffic = outcome.traffic
    async with grpc.aio.insecure_channel(one.address) as first, grpc.aio.insecure_channel(one.address) as second:
        stubs = [_services.GRPCInferenceServiceStub(channel) for channel in (first, second)]
        began = time.monotonic()
        asking = []
        for number, (at, model) in enumerate(traffic.schedule()):
            await asyncio.sleep(began + at - time.monotonic())
            asking.append(spawn(_ask(stubs[number % 2], model, outcome), model))
        await asyncio.gather(*asking)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def _ask(stub: Any, model: str, outcome: Outcome) -> None:
    ones = np.ones((1, 16), np.int32)
    began = time.monotonic()
    try:
        reply = await stub.ModelInfer(
            infer_request(model, INPUT0=ones, INPUT1=2 * ones), timeout=outcome.traffic.deadline
        )
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            outcome.late += 1
        else:
            outcome.failures[f"{error.code().name}: {error.details()}"] += 1
        return
    if (reply.model_name, reply.raw_output_contents[0]) == (model, SUM):
        outcome.seconds.append(time.monotonic() - began)
    else:
        outcome.failures["a wrong answer"] += 1


async def _watch(one: Gateway, outcome: Outcome) -> None:
    """Look at what each Triton has, and what the gateway says."""
    addresses = [each["address"] for each in view(one)["endpoints"]]
    channels = [grpc.aio.insecure_channel(address) for address in addresses]
    stubs = [_services.GRPCInferenceServiceStub(channel) for channel in channels]
    try:
        while True:
            for stub in stubs:
                index = await stub.RepositoryIndex(_messages.RepositoryIndexRequest(), timeout=30)
                held = {each.name for each in index.models if each.state in HELD}
                outcome.most_held = max(outcome.most_held, len(held))
            outcome.looks += 1
            if outcome.looks % 10 == 0:
                told = await asyncio.to_thread(view, one)
                for each in told["endpoints"]:
                    loaded = [
                        n for n, all_ in each["models"].items() if any(v["state"] == "READY" for v in all_.values())
                    ]
                    outcome.most_told = max(outcome.most_told, len(loaded))
            await asyncio.sleep(LOOK_INTERVAL)
    finally:
        for channel in channels:
            await channel.close()


def report(outcome: Outcome) -> str:
    """A table."""
    traffic = outcome.traffic
    hits, misses = outcome.parts()
    lines = [
        f"{traffic.models} models, room for {traffic.room} on each of {traffic.tritons} Triton(s); {traffic.rate:g} "
        f"requests/s for {traffic.seconds:g} s, Zipf {traffic.skew:g}, deadline {traffic.deadline:g} s",
        f"  requests {outcome.requests}: {len(outcome.seconds)} answered, {outcome.late} past their deadline, "
        f"{sum(outcome.failures.values())} failed",
        f"  hit rate {outcome.hit_rate:.3f} ({outcome.told['hit_rate']:.3f} by /v1/fleet; "
        f"{ideal_hit_rate(traffic):.3f} if loads took no time); "
        f"{outcome.loads} loads, {outcome.failed_loads} failed, {outcome.unloads} unloads",
        f"  most models at once on a Triton: {outcome.most_held} by its index in {outcome.looks} looks, "
        f"{outcome.most_told} by the gateway",
        "            number      p50      p99      max",
    ]
    for name, part in (("hits", hits), ("misses", misses)):
        told = [f"{np.percentile(part, q):7.3f}s" for q in (50, 99, 100)] if part else ["-"]
        lines.append(f"  {name:<8} {len(part):7d} {' '.join(told)}")
    lines += [f"  {count} x {text}" for text, count in outcome.failures.most_common(5)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play with each number of Tritons, and print. 1 if something failed otherwise than by its deadline, or an endpoint
    had too many models."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.on_demand", description=__doc__)
    default = Traffic()
    for name in ("models", "room", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for name in ("rate", "seconds", "skew", "deadline"):
        parser.add_argument(f"--{name}", type=float, default=getattr(default, name))
    parser.add_argument("--tritons", type=int, nargs="+", default=[1, 2], help="how many, one run for each")
    chosen = vars(parser.parse_args(arguments))
    broken = False
    for tritons in chosen.pop("tritons"):
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as directory:
            outcome = play(Traffic(tritons=tritons, **chosen), Path(directory))
        print(report(outcome), flush=True)
        broken |= bool(outcome.failures) or max(outcome.most_held, outcome.most_told) > outcome.traffic.room
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
