"""The worker's end of the socket between control and workers, and the same without a socket for `--workers 0`.

A message is a 4-byte big-endian length and msgpack, its type in the tag (`gateway.world`). A worker's first message is
`Hello`. Whatever goes wrong on a connection closes it, and the worker comes back; a worker without control keeps the
last `World`. Control's end is `gateway.control.link_server`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from gateway.backoff import Backoff
from gateway.tasks import spawn
from gateway.world import (
    Hello,
    KeySet,
    Load,
    Loaded,
    Loading,
    Outcome,
    Places,
    Refresh,
    Refreshed,
    Report,
    ToControl,
    ToWorker,
    World,
)

MESSAGE_LIMIT = 256 * 1024 * 1024
"""Bytes of one message. 10,000 models on each of 64 endpoints make a `World` of about 22 MB."""
REPORT_BACKLOG = 1024 * 1024
"""Bytes waiting for control beyond which reports are left out: they are absolute, so the next one has it all."""
REFRESH_TIMEOUT = 2.0
TRIES_BEFORE_WARNING = 6

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_to_worker = msgspec.msgpack.Decoder(ToWorker)

OnWorld = Callable[[World], Awaitable[None]]
OnKeys = Callable[[KeySet], None]
OnPlaces = Callable[[Places], None]
Tell = Callable[[str], None]
"""Is called with what a load waits for, in words."""
AWAY = Outcome("away", "no control")


class LinkError(Exception):
    """The other end does not speak this protocol."""


class Handler(Protocol):
    """What control does with the workers' messages."""

    def hello(self, hello: Hello) -> None:
        """A worker connected."""

    def gone(self, hello: Hello) -> None:
        """The connection of that worker ended, whether or not the worker did."""

    def report(self, report: Report) -> None:
        """A worker's metrics."""

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Return when the pool, or its endpoint with this address, was polled anew and what changed was published. A
        model that was `loaded` there is another load of it."""

    async def load(self, pool: str, model: str, tell: Tell) -> Outcome:
        """Return when the model is loaded there and that was published, or why it is not."""


def no_keys(keys: KeySet) -> None:
    """Until somebody wants them."""


def no_places(places: Places) -> None:
    """Until somebody wants them."""


class WorkerLink(Protocol):
    """The worker's end. `on_keys` gets the keys as they change, before the first World, and `on_places` this gateway's
    places among others."""

    on_keys: OnKeys
    on_places: OnPlaces

    async def run(self) -> None:
        """Stay connected until cancelled."""

    def send_report(self, report: Report) -> None:
        """Send, or drop if control is away."""

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Return when the inventory of `pool`, or of its endpoint with this address, is fresh, or after a bounded
        time."""

    async def load(self, pool: str, model: str, tell: Tell) -> Outcome:
        """Return when the model is loaded somewhere in `pool` and the World that shows it was applied, or why it is
        not. How long that takes is control's to bound."""


def frame(message: ToWorker | ToControl) -> bytes:
    """The bytes of `message` on the socket."""
    body = _encode(message)
    return len(body).to_bytes(4, "big") + body


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """The next message's msgpack. Raises `LinkError` if it is too long and `EOFError` at the end of the stream."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > MESSAGE_LIMIT:
        raise LinkError(f"a message of {size} bytes; at most {MESSAGE_LIMIT} are allowed")
    return await reader.readexactly(size)


class LinkClient:
    """A worker's end. `on_world` is awaited before the next message is read, so that a refresh ends with its World
    applied. It must not raise."""

    def __init__(self, path: str, worker: int, on_world: OnWorld) -> None:
        self._path = path
        self._worker = worker
        self._on_world = on_world
        self.on_keys: OnKeys = no_keys
        self.on_places: OnPlaces = no_places
        self._writer: asyncio.StreamWriter | None = None
        self._tokens = itertools.count(1)
        self._refreshes: dict[int, asyncio.Future[None]] = {}
        self._loads: dict[int, tuple[asyncio.Future[Outcome], Tell]] = {}
        self._backoff = Backoff(0.05, 1.0)
        self._failed_tries = 0

    async def run(self) -> None:
        """Connect, and connect again whenever control went away, until cancelled."""
        while True:
            try:
                await self._session()
            except (OSError, EOFError, LinkError, msgspec.MsgspecError) as error:
                self._failed_tries += 1
                # At a start workers come before control, which is no news; an absence of a second or two is.
                level = logging.WARNING if self._failed_tries == TRIES_BEFORE_WARNING else logging.DEBUG
                _log.log(level, "no control: %r", error)
            await asyncio.sleep(self._backoff.next())

    async def _session(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(frame(Hello(self._worker, os.getpid())))
            self._writer = writer
            while True:
                await self._take(_to_worker.decode(await read_body(reader)))
                self._backoff.reset()
                self._failed_tries = 0
        finally:
            self._writer = None
            writer.close()
            for token in list(self._refreshes):
                self._refreshed(token)
            for token in list(self._loads):
                self._loaded(token, AWAY)

    async def _take(self, message: ToWorker) -> None:
        match message:
            case World():
                await self._on_world(message)
            case KeySet():
                self.on_keys(message)
            case Places():
                self.on_places(message)
            case Refreshed():
                self._refreshed(message.token)
            case Loading():
                if message.token in self._loads:
                    self._loads[message.token][1](message.progress)
            case Loaded():
                self._loaded(message.token, message.outcome)

    def _loaded(self, token: int, outcome: Outcome) -> None:
        future, _ = self._loads.pop(token, (None, None))
        if future is not None and not future.done():
            future.set_result(outcome)

    def _refreshed(self, token: int) -> None:
        future = self._refreshes.pop(token, None)
        if future is not None and not future.done():
            future.set_result(None)

    def send_report(self, report: Report) -> None:
        """Send, unless control is away or does not read."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size() < REPORT_BACKLOG:
            self._writer.write(frame(report))

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Have `pool` polled, or its endpoint with this address, and its World applied. Returns without it, and logs,
        if control is away or slow."""
        if self._writer is None:
            _log.warning("pool %s is not refreshed: no control", pool)
            return
        token = next(self._tokens)
        future = self._refreshes[token] = asyncio.get_running_loop().create_future()
        self._writer.write(frame(Refresh(token, pool, address, loaded)))
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT):
                await future
        except TimeoutError:
            _log.warning("pool %s is not refreshed after %s s", pool, REFRESH_TIMEOUT)
        finally:
            self._refreshes.pop(token, None)

    async def load(self, pool: str, model: str, tell: Tell) -> Outcome:
        """Have `model` loaded in `pool` and the World that shows it applied."""
        if self._writer is None:
            return AWAY
        token = next(self._tokens)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._loads[token] = (future, tell)
        self._writer.write(frame(Load(token, pool, model)))
        try:
            return await future
        finally:
            self._loads.pop(token, None)


class DirectLink:
    """Both ends in one process, for `--workers 0`: the same promises without bytes."""

    def __init__(self, handler: Handler, on_world: OnWorld) -> None:
        self._handler = handler
        self._on_world = on_world
        self.on_keys: OnKeys = no_keys
        self.on_places: OnPlaces = no_places
        self._world: World | None = None
        self._seen = asyncio.Condition()
        self._applied: World | None = None

    def publish_keys(self, keys: KeySet, whole: Callable[[], KeySet]) -> None:
        """Hand the keys over."""
        self.on_keys(keys)

    def publish_places(self, places: Places) -> None:
        """Hand the places over."""
        self.on_places(places)

    def publish(self, world: World) -> None:
        """Have the worker take over `world`, in its own task."""
        self._world = world
        spawn(self._notify(), "world published")

    async def run(self) -> None:
        """Apply each World, until cancelled."""
        hello = Hello(0, os.getpid())
        self._handler.hello(hello)
        try:
            while True:
                async with self._seen:
                    await self._seen.wait_for(lambda: self._world is not self._applied)
                    world = self._world
                if world is not None:
                    await self._on_world(world)
                self._applied = world
                await self._notify()
        finally:
            self._handler.gone(hello)

    async def _notify(self) -> None:
        async with self._seen:
            self._seen.notify_all()

    def send_report(self, report: Report) -> None:
        """Hand the report over."""
        self._handler.report(report)

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Have `pool` polled, or its endpoint with this address, and its World applied, or log after a bounded time."""
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT):
                await self._handler.refresh(pool, address, loaded)
                async with self._seen:
                    await self._seen.wait_for(lambda: self._world is self._applied)
        except TimeoutError:
            _log.warning("pool %s is not refreshed after %s s", pool, REFRESH_TIMEOUT)

    async def load(self, pool: str, model: str, tell: Tell) -> Outcome:
        """Have `model` loaded in `pool` and the World that shows it applied."""
        outcome = await self._handler.load(pool, model, tell)
        async with self._seen:
            await self._seen.wait_for(lambda: self._world is self._applied)
        return outcome
