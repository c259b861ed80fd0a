"""Control's side of a link, recording what workers say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.world import EndpointState, Hello, Outcome, Report, World
from tests.support.gateway_process import a_config

CONFIG = a_config("gpu-0:8001", listen="127.0.0.1:1")


def a_world(generation: int, live: bool = True) -> World:
    return World(generation, CONFIG, {"p": (EndpointState("gpu-0:8001", live),)})


class Recorder:
    """Implements `gateway.link.Handler`. A refresh waits for `gate`, then publishes the next world."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.reports: list[Report] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.publish: Callable[[World], None] | None = None
        self.generation = 100

    def hello(self, hello: Hello) -> None:
        self.events.append(f"hello {hello.worker}")

    def gone(self, hello: Hello) -> None:
        self.events.append(f"gone {hello.worker}")

    def report(self, report: Report) -> None:
        self.reports.append(report)

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        self.events.append(f"refresh {pool} {address} {loaded}".rstrip())
        await self.gate.wait()
        if self.publish is not None:
            self.generation += 1
            self.publish(a_world(self.generation))

    async def load(self, pool: str, model: str, tell: Callable[[str], None]) -> Outcome:
        self.events.append(f"load {pool} {model}")
        tell("in a moment")
        await self.gate.wait()
        if model == "bug":
            raise RuntimeError("told to fail")
        if self.publish is not None:
            self.generation += 1
            self.publish(a_world(self.generation))
        return Outcome("ready") if model == "m" else Outcome("failed", "told to", 2.0)


class Applied:
    """A worker's side: the worlds it took over."""

    def __init__(self) -> None:
        self.worlds: list[World] = []

    async def __call__(self, world: World) -> None:
        await asyncio.sleep(0.01)  # as building a snapshot would take a while
        self.worlds.append(world)

    @property
    def generations(self) -> list[int]:
        return [world.generation for world in self.worlds]
