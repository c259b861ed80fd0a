"""CPU that control spends on polling many endpoints, in percent of one core.

Run as `python -m loadtests.micro_polling [--endpoints 100] [--models 16] [--seconds 10] [--loop asyncio]`. The
endpoints are small servers in another process: gRPC for liveness, HTTP for metrics pages as Triton 2.51 writes them for
so many models. All, some or none of the models have worked since the last look. Measured is the whole of control's
polling: connections, parsing, estimates, and the load board.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

import grpc.aio
import uvloop
from tritonclient.grpc import service_pb2, service_pb2_grpc

from config.schema import Endpoint, Pool
from gateway.control.fleet import Fleet
from gateway.control.load import Shape
from gateway.control.poller import Pollers
from gateway.control.slots import Slots
from gateway.telemetry.metrics import Metrics
from routing.load_board import LoadBoard

_messages: Any = service_pb2
_services: Any = service_pb2_grpc

WARM_UP = 8.0
"""Seconds until the pace has settled."""
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


class Triton(_services.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Is live and has `models`."""

    def __init__(self, models: int) -> None:
        self._models = models

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return _messages.ServerLiveResponse(live=True)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        answer = _messages.RepositoryIndexResponse()
        for index in range(self._models):
            answer.models.add(name=f"model_{index}", version="1", state="READY")
        return answer

    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        return _messages.ModelStatisticsResponse()


def serve(endpoints: int, models: int, active: int, ready: Connection) -> None:
    """Serve so many endpoints, each on ports of its own, and tell the ports, of gRPC and of the page."""

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
        triton = grpc.aio.server()
        _services.add_GRPCInferenceServiceServicer_to_server(Triton(models), triton)
        ports = [triton.add_insecure_port("127.0.0.1:0") for _ in range(endpoints)]
        await triton.start()
        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(endpoints)]
        ready.send([(port, each.sockets[0].getsockname()[1]) for port, each in zip(ports, servers, strict=True)])
        await asyncio.Event().wait()

    pages = [page(models, active, turn) for turn in range(200)]
    asyncio.run(run())


class Configurations:
    """Every model has one instance."""

    def __init__(self, address: str) -> None: ...

    async def shape(self, model: str, version: str, timeout: float) -> Shape:
        return Shape()

    async def close(self) -> None: ...


async def poll(ports: list[tuple[int, int]], models: int, warm_up: float, seconds: float) -> tuple[float, float]:
    """Share of a core, and pages a second, of polling these endpoints for so long."""
    metrics = Metrics()
    board = LoadBoard.create(None, len(ports) * (models + 1), 1)
    fleet = Fleet(board, Slots(board), metrics, lambda address: None, configurations=Configurations)
    endpoints = tuple(Endpoint(f"127.0.0.1:{port}", metrics=f"127.0.0.1:{page}") for port, page in ports)
    pools = {"p": Pool(endpoints)}
    pollers = Pollers(pools, lambda: None, metrics, paged=fleet.paged)
    running = [asyncio.get_running_loop().create_task(part.run()) for part in (pollers, fleet)]
    await pollers.first()
    fleet.sync(pools, pollers.endpoints(), pollers.states())
    await asyncio.sleep(warm_up)
    pages = metrics.counter("penstock_scrapes_total", ("ok",))
    before, cpu, begun = pages.value, time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    wall = time.perf_counter() - begun
    share, rate = (time.process_time() - cpu) / wall, (pages.value - before) / wall
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    return share, rate


def measure(options: argparse.Namespace, active: int) -> tuple[float, float]:
    """The same against fresh servers, of whose models so many work."""
    ours, theirs = multiprocessing.Pipe()
    servers = multiprocessing.get_context("spawn").Process(
        target=serve, args=(options.endpoints, options.models, active, theirs)
    )
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
