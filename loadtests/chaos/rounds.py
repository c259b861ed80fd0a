"""A round: load and disturbances, then healing, a while in which all must be well, and silence in which all is zero."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.chaos import promises
from loadtests.chaos.clients import CLIENTS, OK, classes, classify, kinds_of_text
from loadtests.chaos.disturbances import KINDS, Disturber
from loadtests.chaos.stage import Stage, apart
from routing.tasks import spawn
from tests.support.load import Load

HEALING = 60.0
"""Seconds until all is well again, at most: a Triton and its models have to start."""
QUIET = 1.0
"""Seconds without an error that show it."""
LEARNING = 4.0
"""Seconds of calm in which endpoints that were slow, or cold, get less: what was learnt of them is unlearnt as they are
asked, so how they share the work is seen after that."""
THINK = 0.02


@dataclass
class Round:
    """What happened. `classes` are by (source, class); `gateway` is what it counted, None if that could not be told;
    `slack` is by how much that may differ."""

    kind: str
    disturbances: Counter[str] = field(default_factory=Counter)
    classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    gateway: Counter[str] | None = None
    slack: int = 0
    shares: list[float] = field(default_factory=list)
    healed_in: float = 0.0
    texts: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


async def play(
    stage: Stage, kind: str, seconds: float, proof: float, rng: random.Random, say: Callable[[str], None]
) -> Round:
    """One round: `seconds` of disturbances, and `proof` seconds in which nobody may fail."""
    result = Round(kind)
    before = await asyncio.to_thread(promises.counted, stage)
    disturber = Disturber(stage, rng, KINDS[kind])
    async with Load(stage.gateway.port, CLIENTS, THINK) as load:
        progress = spawn(_progress(load, disturber, kind, say), "progress")
        try:
            result.disturbances = await disturber.run(seconds)
            await _heal(stage, load, result)
            await _prove(stage, load, proof, result)
        finally:
            progress.cancel()
    requests = load.requests
    result.classes = classes(requests)
    result.texts = kinds_of_text(requests)
    result.broken += promises.answers(requests, disturber.events)
    result.broken += await asyncio.to_thread(lambda: [*promises.nothing_held(stage), *promises.tritons(stage)])
    if not any("kill control" in name for name in result.disturbances):
        result.gateway = await asyncio.to_thread(promises.counted, stage)
        result.gateway.subtract(before)
        result.slack = promises.lost_counts(requests, disturber.events)
        result.broken += promises.accounts(requests, result.gateway, result.slack)
    return result


async def _heal(stage: Stage, load: Load, result: Round) -> None:
    """Wait until all is as it was and nobody fails."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    troubles: list[str] = []
    while (now := loop.time()) < began + HEALING:
        troubles = await apart(lambda: [stage.troubles()], 10.0) or [["no answer"]]
        recent = [each for each in reversed(load.requests[-2000:]) if each.ended > now - QUIET]
        if not troubles[0] and now > began + QUIET and all(classify(each.error) == OK for each in recent):
            result.healed_in = loop.time() - began
            return
        await asyncio.sleep(0.1)
    result.broken.append(f"not healed after {HEALING:.0f} s: {troubles[0] or 'clients still fail'}")


async def _prove(stage: Stage, load: Load, seconds: float, result: Round) -> None:
    loop = asyncio.get_running_loop()
    since, samples = loop.time(), []
    while loop.time() < since + seconds:
        sample = await apart(lambda: promises.served(stage), 1.0)
        if sample and loop.time() >= since + LEARNING:
            samples.append(sample)
        await asyncio.sleep(1.0)
    result.shares = promises.largest_shares(samples)
    result.broken += promises.calm(load.requests, since)


async def _progress(load: Load, disturber: Disturber, kind: str, say: Callable[[str], None]) -> None:
    """A line each second: how much was asked, how it ended, and what goes wrong now."""
    seen = 0
    ended: Counter[str] = Counter()
    while True:
        await asyncio.sleep(1.0)
        new = load.requests[seen:]
        seen += len(new)
        ended.update(classify(each.error) for each in new)
        told = ", ".join(f"{count} {name}" for name, count in ended.most_common())
        now = "; ".join(sorted(disturber.now)) or "nothing"
        say(f"{kind}: {len(new)}/s, {len(load.open)} open, {told} | now: {now}")
