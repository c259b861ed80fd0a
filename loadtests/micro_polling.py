"""CPU that control spends on the metrics pages of many endpoints, in percent of one core.

Run as `python -m loadtests.micro_polling [--endpoints 100] [--models 16] [--seconds 10] [--loop asyncio]`. The
endpoints are small HTTP servers in another process, whose pages are as Triton 2.51 writes them for so many models; all,
some or none of the models have worked since the last look. Measured is the whole of `gateway.control.fleet`:
connections, parsing, estimates, and the load board.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import time
from multiprocessing.connection import Connection

import uvloop

from config.schema import Endpoint, Pool
from gateway.control.fleet import Fleet
from gateway.control.load import Shape
from gateway.control.slots import Slots
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, ModelVersion
from routing.load_board import LoadBoard

WARM_UP = 2.0
FALL_ASLEEP = 10.0
"""Seconds after which endpoints without work are looked at as rarely as they ever are."""
REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
COUNTERS = (
    *("nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count"),
    *("nv_inference_request_duration_us", "nv_inference_queue_duration_us"),
    *(f"nv_inference_compute_{part}_duration_us" for part in ("input", "infer", "output")),
)
GAUGES = ("nv_pinned_memory_pool_total_bytes", "nv_cpu_utilization", "nv_cpu_memory_used_bytes")


def page(models: int, active: int, turn: int) -> bytes:
    """The `turn`-th page of a server with so many models, the first `active` of which work."""
    names = [f"model_{index}" for index in range(models)]
    lines = _family("nv_inference_request_failure", "counter")
    lines += [f'{lines[1].split()[2]}{{model="{n}",reason="{r}",version="1"}} 0' for n in names for r in REASONS]
    for number, counter in enumerate(COUNTERS):
        lines += _family(counter, "counter")
        step = 1 if number < 3 else 5000
        lines += [
            f'{counter}{{model="{name}",version="1"}} {1000 + (turn * step if index < active else 0)}'
            for index, name in enumerate(names)
        ]
    lines += _family("nv_inference_pending_request_count", "gauge")
    lines += [
        f'nv_inference_pending_request_count{{model="{name}",version="1"}} {turn % 3 if index < active else 0}'
        for index, name in enumerate(names)
    ]
    for gauge in GAUGES:
        lines += [*_family(gauge, "gauge"), f"{gauge} {turn // 13}"]
    return "\n".join(lines).encode() + b"\n"


def _family(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} What it says, in a sentence that is about as long as this one", f"# TYPE {name} {kind}"]


def serve(endpoints: int, models: int, active: int, ready: Connection) -> None:
    """Serve so many endpoints, each on a port of its own, and tell the ports."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in itertools.count():
            try:
                await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            body = pages[turn % len(pages)]
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        writer.close()

    async def run() -> None:
        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(endpoints)]
        ready.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    pages = [page(models, active, turn) for turn in range(200)]
    asyncio.run(run())


class Configurations:
    """Every model has one instance."""

    def __init__(self, address: str) -> None: ...

    async def shape(self, model: str, version: str, timeout: float) -> Shape:
        return Shape()

    async def close(self) -> None: ...


async def poll(ports: list[int], models: int, warm_up: float, seconds: float) -> tuple[float, float]:
    """Share of a core, and pages a second, of reading these pages for so long."""
    metrics = Metrics()
    board = LoadBoard.create(None, len(ports) * (models + 1), 1)
    fleet = Fleet(board, Slots(board), metrics, lambda address: None, configurations=Configurations)
    endpoints = tuple(Endpoint(f"127.0.0.{port % 250 + 1}:{port}", metrics=f"127.0.0.1:{port}") for port in ports)
    inventory = {f"model_{index}": {"1": ModelVersion("READY")} for index in range(models)}
    states = tuple(EndpointState(one.address, True, True, dict(inventory)) for one in endpoints)
    running = asyncio.get_running_loop().create_task(fleet.run())
    fleet.sync({"p": Pool(endpoints)}, {"p": endpoints}, {"p": states})
    await asyncio.sleep(warm_up)
    pages = metrics.counter("penstock_scrapes_total", ("ok",))
    before, cpu, begun = pages.value, time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    wall = time.perf_counter() - begun
    share, rate = (time.process_time() - cpu) / wall, (pages.value - before) / wall
    running.cancel()
    await asyncio.wait([running])
    return share, rate


def measure(options: argparse.Namespace, active: int) -> tuple[float, float]:
    """The same against fresh servers, of whose models so many work."""
    ours, theirs = multiprocessing.Pipe()
    servers = multiprocessing.Process(target=serve, args=(options.endpoints, options.models, active, theirs))
    servers.start()
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            warm_up = WARM_UP if active else FALL_ASLEEP
            return runner.run(poll(ours.recv(), options.models, warm_up, options.seconds))
    finally:
        servers.terminate()
        servers.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    options = parser.parse_args()
    size = len(page(options.models, 0, 0))
    print(f"{options.endpoints} endpoints, pages of {options.models} models and {size} bytes, {options.loop}:")
    for active in sorted({0, 1, options.models // 4, options.models}):
        share, rate = measure(options, active)
        print(
            f"{active:4d} models work: {share:6.1%} of a core, {rate:4.0f} pages/s, {share / rate * 1e6:4.0f} us each"
        )


if __name__ == "__main__":
    main()
