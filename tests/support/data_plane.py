"""A `DataPlane` on an event loop of its own thread: real sockets in front, and endpoints that tests bring along.

with a_plane(server.address) as plane:
    plane.post("/v2/models/m/infer", b"{...}")
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import uvloop
from tritonclient.grpc import service_pb2_grpc

from config.schema import Config, Endpoint, Listener, Match, Pool, Route, Target
from gateway.telemetry.metrics import Metrics
from gateway.worker import DataPlane
from gateway.world import EndpointState, ModelVersion, World
from tests.support.deadline import until

T = TypeVar("T")
ALL_APIS = ("inference", "metadata", "statistics", "repository", "trace", "logging", "shared_memory")
Models = Mapping[str, Mapping[str, str]]


class Answer:
    """An HTTP response: header names in lower case."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self.status = reply.status
        self.headers = {name.lower(): value for name, value in reply.getheaders()}
        self.body = reply.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        assert list(self.json) == ["error"]
        return str(self.json["error"])

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.body[:200]!r})"


class PlaneThread:
    """The plane and its clients. `refreshes` are the pools of which control was asked to read the inventory, with the
    endpoint if one was meant."""

    def __init__(self, config: Config, states: Mapping[str, Sequence[EndpointState]]) -> None:
        self.config = config
        self.states = {name: tuple(each) for name, each in states.items()}
        self.metrics = Metrics()
        self.refreshes: list[str] = []
        self.loaded: list[str] = []
        self.on_refresh: Callable[[str], Awaitable[None]] | None = None
        self.generation = 0
        self.plane: DataPlane
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._channels: list[grpc.Channel] = []

    def start(self) -> PlaneThread:
        self._thread.start()
        self.run(self._make)
        self.apply()
        return self

    async def _make(self) -> None:
        self.plane = DataPlane(0, self.metrics, self._refresh)

    async def _refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        self.refreshes.append(f"{pool} {address}".rstrip())
        if loaded:
            self.loaded.append(f"{pool} {loaded}")
        if self.on_refresh is not None:
            await self.on_refresh(pool)

    def stop(self) -> None:
        for channel in self._channels:
            channel.close()
        self.run(self.plane.close)
        self.run(self._settle)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _settle(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, make: Callable[[], Awaitable[T]]) -> T:
        """The result of a coroutine function, run on the plane's loop."""

        async def main() -> T:
            async with asyncio.timeout(30):
                return await make()

        return asyncio.run_coroutine_threadsafe(main(), self._loop).result(40)

    def apply(self, **changes: Any) -> None:
        """A new World: `config`, `states`, or `draining` exchanged."""
        self.run(lambda: self.publish(**changes))

    async def publish(self, **changes: Any) -> None:
        """The same for those who are on the plane's loop."""
        self.config = changes.pop("config", self.config)
        self.states |= changes.pop("states", {})
        self.generation += 1
        await self.plane.apply(World(self.generation, self.config, self.states, **changes))

    def set_models(self, models: Models, pool: str = "p") -> None:
        """Every endpoint of the pool now has these."""
        self.apply(states={pool: tuple(a_state(each.address, models) for each in self.states[pool])})

    # clients

    @property
    def listener(self) -> Any:
        return self.plane._listeners[0]

    def port(self, listener: int = 0) -> int:
        """The port of the listener with this position."""
        server = self.plane._listeners[listener]._server
        assert server is not None
        return int(server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port()}"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, listener: int = 0
    ) -> Answer:
        """One HTTP/1.1 request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(listener), timeout=20)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(
        self, path: str, body: bytes | Mapping[str, Any] = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A POST of bytes, or of an object as JSON."""
        return self.request("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)

    def channel(self, listener: int = 0, **options: Any) -> grpc.Channel:
        """A grpcio channel that ends with the plane."""
        settings = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1} | options
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port(listener)}", options=list(settings.items()))
        self._channels.append(channel)
        return channel

    def stub(self, **options: Any) -> Any:
        """A stub of `inference.GRPCInferenceService`."""
        return service_pb2_grpc.GRPCInferenceServiceStub(self.channel(**options))

    # what was counted

    def counted(self, family: str) -> dict[tuple[str, ...], float]:
        """A counter's or gauge's values that are not zero, after a report."""

        async def read() -> dict[tuple[str, ...], float]:
            self.plane.report()
            values = self.metrics.snapshot()
            cells = values.counters.get(family) or values.gauges.get(family) or {}
            return {labels: value for labels, value in cells.items() if value}

        return self.run(read)

    def codes(self) -> dict[str, int]:
        """Finished requests by status code."""
        codes: Counter[str] = Counter()
        for (_, _, code, _), value in self.counted("penstock_requests_total").items():
            codes[code] += int(value)
        return dict(codes)

    def held(self) -> dict[str, float]:
        """Everything that a request holds and must give back, if it is not zero."""
        values = {
            "in flight": sum(self.counted("penstock_inflight").values()),
            "at endpoints": sum(self.counted("penstock_endpoint_inflight").values()),
            "requests": sum(each.requests_in_flight for each in self.plane._listeners),
            "buffered": sum(each.buffered for each in self.plane._listeners),
        }
        return {name: value for name, value in values.items() if value}

    def wait_idle(self) -> None:
        """Wait until all that requests held is given back."""
        until(lambda: not self.held(), 10)


def a_state(address: str, models: Models | None = None, live: bool = True) -> EndpointState:
    """An endpoint with these models by name, version and state; of unknown inventory without."""
    versions = {
        name: {version: ModelVersion(state) for version, state in states.items()}
        for name, states in (models or {}).items()
    }
    return EndpointState(address, live=live, known=models is not None, models=versions)


def a_route(model: str = "*", pool: str = "p", name: str = "", version: str | None = None, **more: Any) -> Route:
    """To a pool, unless `more` has a split."""
    to = None if "split" in more else Target(pool, version=version)
    return Route(match=Match((model,)), name=name or model, **{"to": to, **more})


def a_listener(name: str = "main", **more: Any) -> Listener:
    return Listener(address="127.0.0.1:0", name=name, **{"apis": ALL_APIS, **more})


def a_config(
    *addresses: str, routes: Sequence[Route] | None = None, listen: Sequence[Listener] | None = None, **pool: Any
) -> Config:
    """One pool `p` of these addresses; `pool` are further fields of it."""
    return Config(
        listen=tuple(listen or [a_listener()]),
        pools={"p": Pool(endpoints=tuple(map(Endpoint, addresses)), **pool)},
        routes=tuple(routes or [a_route()]),
    )


@contextmanager
def running(config: Config, states: Mapping[str, Sequence[EndpointState]]) -> Iterator[PlaneThread]:
    """A plane with this configuration, while it runs."""
    plane = PlaneThread(config, states).start()
    try:
        yield plane
    finally:
        plane.stop()


@contextmanager
def a_plane(
    *addresses: str,
    models: Models | None = None,
    routes: Sequence[Route] | None = None,
    listen: Sequence[Listener] | None = None,
    **pool: Any,
) -> Iterator[PlaneThread]:
    """A plane over one pool of these addresses."""
    states = {"p": [a_state(address, models) for address in addresses]}
    with running(a_config(*addresses, routes=routes, listen=listen, **pool), states) as plane:
        yield plane
