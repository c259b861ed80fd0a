"""Steady load on a gateway by real clients, every request accounted for.

async with Load(port, sources) as load:
    await load.answers(200)
    ...                            # break something
assert load.lost == []

A source is one client that asks again and again until it is stopped or finds nobody listening any more. A request
counts as lost when it was sent on a connection that was made, and no answer or a wrong one came back.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import numpy as np

from routing.tasks import spawn
from tests.support.messages import infer_request, stub

ANSWER_SECONDS = 30.0
CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


class NobodyListens(Exception):
    """The connection was refused: the request was never taken by anyone."""


@dataclass
class Request:
    """One request: when it began and ended in the loop's time, on which connection, and what went wrong."""

    source: str
    began: float
    connection: int = 0
    ended: float = 0.0
    error: str | None = None


@dataclass
class Load:
    """What all sources did. `open` are the requests that wait for their answers."""

    port: int
    sources: Sequence[Callable[[Load], Source]]
    think: float = 0.005
    requests: list[Request] = field(default_factory=list)
    open: list[Request] = field(default_factory=list)
    refused: int = 0
    stopping: bool = False

    async def __aenter__(self) -> Load:
        self._tasks = [spawn(make(self).run(), "load") for make in self.sources]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let each source finish its last request."""
        self.stopping = True
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.gather(*self._tasks)

    async def answers(self, count: int, seconds: float = 30.0) -> None:
        """Return when `count` more requests were answered."""
        goal = self.answered + count
        async with asyncio.timeout(seconds):
            while self.answered < goal:
                assert not all(task.done() for task in self._tasks), f"no source is left: {self.summary()}"
                await asyncio.sleep(0.005)

    async def refusals(self, seconds: float = 30.0) -> None:
        """Return when every source found nobody listening."""
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)

    @property
    def answered(self) -> int:
        """Requests with a right answer."""
        return sum(request.error is None for request in self.requests)

    @property
    def lost(self) -> list[Request]:
        """Requests that were sent and not answered, or wrongly."""
        return [request for request in self.requests if request.error is not None]

    def summary(self) -> str:
        """Counts by source and error."""
        count = Counter((request.source, request.error) for request in self.requests)
        return ", ".join(
            f"{source} {error or 'ok'}: {number}" for (source, error), number in sorted(count.items(), key=str)
        )


class Source:
    """A client. `connect` makes its connection, `ask` sends one request on it and checks the answer."""

    name = ""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.loop = asyncio.get_running_loop()
        self.connection = 0

    async def run(self) -> None:
        """Ask until told to stop, or nobody listens."""
        load = self.load
        try:
            while not load.stopping:
                await self._counted()
                await asyncio.sleep(load.think * random.uniform(0.5, 1.5))
        except NobodyListens:
            load.refused += 1
        finally:
            await self.close()

    async def _counted(self) -> None:
        load = self.load
        request = Request(self.name, self.loop.time())
        load.open.append(request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.prepare()
                request.connection = self.connection
                await self.ask()
        except (OSError, AssertionError, asyncio.IncompleteReadError, grpc.aio.AioRpcError) as error:
            request.error = told(error)
            await self.close()
        finally:
            load.open.remove(request)
        request.ended = self.loop.time()
        load.requests.append(request)

    async def prepare(self) -> None:
        """Have a connection. Raises `NobodyListens`."""

    async def ask(self) -> None:
        """One request and its right answer."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the connection."""


def told(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"


class Rest(Source):
    """HTTP/1.1 on a bare socket, which tells exactly what was sent and received; kept alive, or `fresh` each time."""

    name = "rest"
    fresh = False
    path, body = "/v2/models/simple/infer", b""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.socket: socket.socket | None = None
        rows = [list(range(16)), [1] * 16]
        inputs = [
            {"name": f"INPUT{i}", "shape": [1, 16], "datatype": "INT32", "data": row} for i, row in enumerate(rows)
        ]
        self.payload = json.dumps({"inputs": inputs}).encode()

    async def prepare(self) -> None:
        """A connection that the gateway has not closed."""
        if self.socket is not None and (self.fresh or is_closed(self.socket)):
            await self.close()
        if self.socket is None:
            self.socket = await connect(self.loop, self.load.port)
            self.connection = self.socket.getsockname()[1]

    async def ask(self) -> None:
        """One inference."""
        status, body = await self.exchange()
        assert status == 200, f"{status} {body[:200]!r}"
        assert json.loads(body)["outputs"][0]["data"] == list(range(1, 17))

    async def exchange(self) -> tuple[int, bytes]:
        """Send the request, read the whole response."""
        assert self.socket is not None
        head = f"POST {self.path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(self.payload)}\r\n\r\n"
        await self.loop.sock_sendall(self.socket, head.encode() + self.payload)
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._read()
        fields, _, data = data.partition(b"\r\n\r\n")
        lines = fields.decode().lower().split("\r\n")
        if "transfer-encoding: chunked" in lines:
            while not data.endswith(b"0\r\n\r\n"):
                data += await self._read()
        else:
            size = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
            while len(data) < size:
                data += await self._read()
        if "connection: close" in lines:
            await self.close()
        return int(lines[0].split()[1]), data

    async def _read(self) -> bytes:
        assert self.socket is not None
        data = await self.loop.sock_recv(self.socket, 65536)
        if not data:
            raise ConnectionError("closed before the answer")
        return data

    async def close(self) -> None:
        """Close the socket."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class FreshRest(Rest):
    """A new connection for each request."""

    name = "fresh rest"
    fresh = True


class SlowRest(Rest):
    """Requests that are at the model for `seconds`."""

    name = "slow rest"
    path = "/v2/models/slow/infer"
    seconds = 0.05

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        inputs = [{"name": "INPUT0", "shape": [1], "datatype": "FP32", "data": [self.seconds]}]
        self.payload = json.dumps({"inputs": inputs}).encode()

    async def ask(self) -> None:
        """One inference."""
        status, body = await self.exchange()
        assert status == 200, f"{status} {body[:200]!r}"


class Events(SlowRest):
    """generate_stream: five events."""

    name = "events"
    path = "/v2/models/mock_llm/generate_stream"

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.payload = json.dumps({"PROMPT": "hi", "STREAM": True, "REPETITION": 5, "DELAY": 0.01}).encode()

    async def ask(self) -> None:
        """All events of a stream."""
        status, body = await self.exchange()
        assert status == 200, f"{status} {body[:200]!r}"
        assert body.count(b"data: ") == 5, body


async def connect(loop: asyncio.AbstractEventLoop, port: int) -> socket.socket:
    """A connected socket. Raises `NobodyListens` when the port is closed."""
    made = socket.socket()
    made.setblocking(False)
    try:
        await loop.sock_connect(made, ("127.0.0.1", port))
    except ConnectionRefusedError:
        made.close()
        raise NobodyListens from None
    return made


def is_closed(made: socket.socket) -> bool:
    """Has the other end closed this idle connection?"""
    try:
        return made.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


class Unary(Source):
    """grpcio unary calls on a channel of their own."""

    name = "grpc"

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{load.port}", options=CHANNEL_OPTIONS)
        self.stub = stub(self.channel)
        row, ones = np.arange(16, dtype=np.int32)[None], np.ones((1, 16), np.int32)
        self.request = infer_request("simple", INPUT0=row, INPUT1=ones)

    async def ask(self) -> None:
        """One inference."""
        await unless_refused(self._infer())

    async def _infer(self) -> None:
        reply = await self.stub.ModelInfer(self.request, timeout=ANSWER_SECONDS)
        assert np.frombuffer(reply.raw_output_contents[0], np.int32).tolist() == list(range(1, 17))

    async def close(self) -> None:
        """The channel stays while the source runs: it reconnects by itself, as a client's does."""
        if self.load.stopping or self.load.refused:
            await self.channel.close()


class SlowUnary(Unary):
    """Calls that are at the model for 50 ms."""

    name = "slow grpc"

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.request = infer_request("slow", INPUT0=np.array([0.05], np.float32))

    async def _infer(self) -> None:
        await self.stub.ModelInfer(self.request, timeout=ANSWER_SECONDS)


class Streams(Unary):
    """Bidirectional streams of five requests."""

    name = "streams"

    async def _infer(self) -> None:
        async def requests() -> AsyncIterator[Any]:
            for number in range(5):
                yield infer_request(
                    "repeat_int32",
                    str(number),
                    IN=np.array([number, number], np.int32),
                    DELAY=np.array([1, 1], np.uint32),
                    WAIT=np.array([0], np.uint32),
                )
                await asyncio.sleep(0.01)

        answers = [reply async for reply in self.stub.ModelStreamInfer(requests(), timeout=ANSWER_SECONDS)]
        assert all(not reply.error_message for reply in answers), answers[0].error_message
        assert len(answers) == 10


async def unless_refused(call: Awaitable[None]) -> None:
    """Await the call; `NobodyListens` when grpcio could not connect, so that nobody has taken it."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and "Connection refused" in str(error.details()):
            raise NobodyListens from None
        raise
