"""What goes wrong: each disturbance begins, lasts, and is healed. What the gateway heals by itself is only begun."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from deploy.triton import Triton
from loadtests.chaos.stage import STATIC, Stage, flag
from routing.tasks import spawn
from tests.support.casualties import restart

AT_ONCE = 2
PAUSE = (0.2, 1.2)
KILLS = frozenset({"kill worker 0", "kill worker 1"})


class Event(NamedTuple):
    """A disturbance: its name, and when it began and was over, in the loop's time."""

    name: str
    began: float
    ended: float


Disturb = Callable[[Stage, random.Random], Awaitable[None]]


async def signalled(pid: int, rng: random.Random, longest: float) -> None:
    """Let a process stand still for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(rng.uniform(0.1, longest))
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_static(number: int) -> Disturb:
    """The server with its models, by SIGKILL; somebody starts it again."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        triton = stage.tritons[number]
        triton.process.kill()
        try:
            await asyncio.sleep(rng.uniform(0.2, 2.0))
        finally:
            await asyncio.to_thread(restart, triton)

    return disturb


def stop_static(number: int) -> Disturb:
    """The server stands still."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        await signalled(stage.tritons[number].pid, rng, 2.5)

    return disturb


def unload_static(number: int) -> Disturb:
    """A model goes behind the gateway's back and comes back."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        triton, model = stage.tritons[number], rng.choice(STATIC)
        await asyncio.to_thread(ask, triton, "unload_model", model)
        try:
            await asyncio.sleep(rng.uniform(0.2, 1.5))
        finally:
            await asyncio.to_thread(ask, triton, "load_model", model)

    return disturb


def reload_static(number: int) -> Disturb:
    """A model is loaded again, which Triton does beside the one that serves."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        await asyncio.to_thread(ask, stage.tritons[number], "load_model", rng.choice(STATIC))

    return disturb


def slow_down(number: int) -> Disturb:
    """Each request for `simple` takes 0.25 s more there."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        file = flag(stage.tritons[number])
        file.touch()
        try:
            await asyncio.sleep(rng.uniform(0.5, 3.0))
        finally:
            file.unlink()

    return disturb


async def kill_managed(stage: Stage, rng: random.Random) -> None:
    """One of the gateway's own Tritons."""
    if pids := stage.managed():
        with suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGKILL)


async def stop_managed(stage: Stage, rng: random.Random) -> None:
    """One of the gateway's own Tritons stands still."""
    if pids := stage.managed():
        with suppress(ProcessLookupError):
            await signalled(rng.choice(pids), rng, 2.0)


def kill(role: str) -> Disturb:
    """A process of the gateway."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        pid = stage.processes().get(role)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    return disturb


def stop(role: str) -> Disturb:
    """A process of the gateway stands still."""

    async def disturb(stage: Stage, rng: random.Random) -> None:
        pid = stage.processes().get(role)
        if pid is not None:
            with suppress(ProcessLookupError):
                await signalled(pid, rng, 1.2)

    return disturb


def ask(triton: Triton, what: str, model: str) -> None:
    """Load or unload a model. One that stands still or is gone does not, which `restart` makes good."""
    make: Any = tritonclient.grpc.InferenceServerClient  # without annotations
    client = make(triton.grpc_address)
    end = time.monotonic() + 20
    try:
        while True:
            try:
                getattr(client, what)(model)
            except InferenceServerException:
                if time.monotonic() > end:
                    return
                time.sleep(0.2)
            else:
                return
    finally:
        client.close()


TRITONS: dict[str, Disturb] = {
    **{
        f"{name} triton {number}": make(number)
        for number in (0, 1)
        for name, make in (
            ("kill", kill_static),
            ("stop", stop_static),
            ("unload at", unload_static),
            ("reload at", reload_static),
            ("slow down", slow_down),
        )
    },
    "kill managed": kill_managed,
    "stop managed": stop_managed,
}
WORKERS: dict[str, Disturb] = {
    f"{name} worker {number}": make(f"worker {number}")
    for number in (0, 1)
    for name, make in (("kill", kill), ("stop", stop))
}
CONTROL: dict[str, Disturb] = {"kill control": kill("control"), "stop control": stop("control")}
KINDS = {"Tritons": TRITONS, "Tritons and workers": TRITONS | WORKERS, "everything": TRITONS | WORKERS | CONTROL}


class Disturber:
    """Disturbs a stage at random; what one disturbance has in hand no other touches. `now` has what goes on."""

    def __init__(
        self, stage: Stage, rng: random.Random, kinds: dict[str, Disturb], pause: tuple[float, float] = PAUSE
    ) -> None:
        self.now: set[str] = set()
        self.events: list[Event] = []
        self._stage = stage
        self._rng = rng
        self._kinds = kinds
        self._pause = pause
        self._clock = asyncio.get_running_loop().time

    async def run(self, seconds: float) -> Counter[str]:
        """Disturb for so long, then heal; how often what happened."""
        end = self._clock() + seconds
        tasks = []
        while self._clock() < end:
            await asyncio.sleep(self._rng.uniform(*self._pause))
            free = [name for name in self._kinds if target(name) not in set(map(target, self.now))]
            if free and len(self.now) < AT_ONCE:
                tasks.append(spawn(self._one(self._rng.choice(free)), "disturbance"))
        await asyncio.gather(*tasks)
        return Counter(event.name for event in self.events)

    async def _one(self, name: str) -> None:
        began = self._clock()
        self.now.add(name)
        try:
            await self._kinds[name](self._stage, self._rng)
        finally:
            self.now.discard(name)
            self.events.append(Event(name, began, self._clock()))


def target(name: str) -> str:
    """What a disturbance has in hand: the last two words, or the last one."""
    words = name.split()
    return " ".join(words[-2:]) if words[-1].isdigit() else words[-1]
