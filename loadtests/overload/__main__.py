"""Run it: `python -m loadtests.overload`, a short one with `--quick`.

Writes loadtests/results/overload.json and .md, or quick.overload.*. The exit status is 1 when a promise was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop

from deploy.triton import install
from loadtests import machine
from loadtests.measure import percentile
from loadtests.overload.clients import Answer, Group, closed_loop, open_loop
from loadtests.overload.figures import Report, fairness, render, rows, verdicts
from loadtests.overload.stage import CLASSES, DEADLINE, INSTANCES, QUEUE, TENANTS, Overloaded, Stage, staged

RESULTS = Path(__file__).parent.parent / "results"
OFFERED = 3.0
SHARES = {
    ("high", "acme"): 0.12,
    ("high", "umbrella"): 0.08,
    ("normal", "acme"): 0.3,
    ("normal", "umbrella"): 0.2,
    ("low", "acme"): 1.6,
    ("low", "umbrella"): 0.7,
}
"""What each asks, of the backend's capacity: three times that in all. The high and the normal class fit in, and the low
class has what is left."""
WARM_UP = 2.0
SETTLE = 12.0
"""Seconds until all has ended, and was reported."""
GAUGES = ("penstock_inflight", "penstock_endpoint_inflight", "penstock_concurrency_in_flight",
          "penstock_concurrency_waiting")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run, write and say the results."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.overload", description="Penstock under overload.")
    parser.add_argument("--quick", action="store_true", help="a short run: shows that all works, not how well")
    parser.add_argument("--seconds", type=float, help="how long the overload lasts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results")
    chosen = parser.parse_args(arguments)
    seconds = chosen.seconds or (6.0 if chosen.quick else 40.0)
    install(say=_say)
    with tempfile.TemporaryDirectory(prefix="penstock-overload-") as scratch, staged(Path(scratch)) as stage:
        report = uvloop.run(_measure(stage, seconds))
    _write(report, chosen.out, "quick.overload" if chosen.quick else "overload")
    _say(render(report))
    return 0 if all(each.kept for each in report.verdicts) else 1


async def _measure(stage: Stage, seconds: float) -> Report:
    gateway = stage.gateway
    tokens = {Group(tenant, kind): gateway.token(tenant, kind) for tenant in TENANTS for kind in CLASSES}
    _say("measuring what the backend can do")
    capacity = await closed_loop(gateway.backend.rest, 2 * INSTANCES, min(10.0, seconds))
    rates = {Group(tenant, kind): share * capacity for (kind, tenant), share in SHARES.items()}
    high = {group: rate for group, rate in rates.items() if group.kind == "high"}
    _say(f"{capacity:.0f} a second; the high class alone")
    unloaded = _counted(await open_loop(gateway.address, tokens, high, seconds + WARM_UP, 1))
    _say(f"{OFFERED:g} times that, for {seconds:g} s")
    watch = asyncio.get_running_loop().create_task(_watch(gateway))
    answers = _counted(await open_loop(gateway.address, tokens, rates, seconds + WARM_UP, 2))
    watch.cancel()
    resident, waiting = _seen
    held = await _held(gateway)
    found = rows(answers, seconds)
    report = Report(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=machine.facts(),
        versions=[f"Triton {gateway.backend.version}", gateway.version() or ""],
        seconds=seconds,
        capacity=round(capacity, 1),
        offered=round(len(answers) / seconds, 1),
        throughput=round(sum(answer.status == 200 for answer in answers) / seconds, 1),
        unloaded_p99_ms=_p99(unloaded),
        loaded_p99_ms=_p99([answer for answer in answers if answer.group.kind == "high"]),
        fairness=fairness(found),
        ran_late=sum(answer.began is not None and answer.began > answer.sent + DEADLINE for answer in answers),
        most_waiting=max(waiting, default=0),
        resident_mib=resident,
        held_after=held,
        rows=found,
        verdicts=[],
    )
    return msgspec.structs.replace(report, verdicts=verdicts(report, int(1.1 * QUEUE)))


def _counted(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.due >= WARM_UP]


def _p99(answers: Sequence[Answer]) -> float:
    """Of all that were asked: what had no good answer counts as the longest."""
    seconds = sorted(answer.seconds if answer.status == 200 else 3600.0 for answer in answers)
    return round(percentile(seconds, 0.99) * 1e3, 1)


_seen: tuple[list[float], list[int]] = ([], [])


async def _watch(gateway: Overloaded) -> None:
    """Look at the workers' memory and queues each second."""
    resident, waiting = _seen
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1.0)
        try:
            size = await loop.run_in_executor(None, gateway.resident)
            count = await loop.run_in_executor(None, lambda: gateway.sums("penstock_concurrency_waiting"))
        except OSError as error:
            _say(f"the admin port did not answer: {error}")
            continue
        resident.append(round(size / 2**20, 1))
        waiting.append(int(count))


async def _held(gateway: Overloaded) -> float:
    """What the gauges hold when all has ended."""
    until = time.monotonic() + SETTLE
    while True:
        held = sum([gateway.sums(family) for family in GAUGES])
        if not held or time.monotonic() > until:
            return held
        await asyncio.sleep(0.5)


def _write(report: Report, directory: Path, stem: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{stem}.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    (directory / f"{stem}.md").write_text(render(report), encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
