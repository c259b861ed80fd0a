"""`State` over a cluster: a `Client` for each primary, so that one that is away costs only what it has.

redis-py learns which primary has which slot; a primary that says that a slot has moved is believed at once. The library
is loaded here and not above: a process that uses no cluster saves its 10 MB.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from state import Argument, Script, StateError
from state.batch import Command, Future, fail
from state.client import Client
from state.connection import Connection, connect
from state.locate import tls_options
from state.meter import Meter
from state.resp import Refusal
from state.scripts import StoredScript
from state.settings import Address, Settings
from state.subscriber import Subscriber

SLOTS = 16384
KEYLESS = frozenset({"PING", "PUBLISH", "SCRIPT", "INFO", "TIME", "ECHO"})
LOOK = 30.0
"""Seconds from one look at the layout to the next."""
LOOK_SOON = 0.5
"""The same while a primary is away or one said that its slots have moved."""

_log = logging.getLogger(__name__)


class ClusterClient:
    """The store of `settings`. `run` learns the layout and keeps the connections."""

    def __init__(self, settings: Settings, meter: Meter | None = None) -> None:
        self.settings = settings
        self.meter = meter or Meter()
        self.subscriber = Subscriber(self._reach_any)
        self._loop = asyncio.get_running_loop()
        from redis.crc import key_slot

        self._slot_of = key_slot
        self._slots: list[Client | None] = [None] * SLOTS
        self._clients: dict[Address, tuple[Client, asyncio.Task[None]]] = {}
        self._stale = asyncio.Event()
        self._tried = asyncio.Event()
        self._why = StateError("the cluster was not reached yet", "down")

    @property
    def up(self) -> bool:
        """Whether any primary answers: what the others have fails at once."""
        return any(client.up for client, _ in self._clients.values())

    def key(self, *parts: str) -> str:
        """The name of a key below the prefix."""
        return ":".join((self.settings.prefix, *parts))

    def do(self, *command: Argument, timeout: float | None = None) -> Future:
        """See `state.State`. The key is the second word, or the fourth of EVAL and EVALSHA."""
        outer = self._loop.create_future()
        client = self._client(command)
        if client is None:
            self.meter.errors("down").value += 1
            fail(outer, self._why)
        else:
            inner = client.do(*command, timeout=timeout)
            inner.add_done_callback(partial(self._answered, outer, command, timeout))
        return outer

    def script(self, name: str, source: str) -> Script:
        """See `state.State`."""
        return StoredScript(self.do, source)

    def on_message(self, channel: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        """See `state.State`. What is published at one member is heard at all."""
        return self.subscriber.on(self.key(channel), told)

    def _client(self, command: Command) -> Client | None:
        name = command[0]
        if name in KEYLESS or len(command) == 1:
            up = [client for client, _ in self._clients.values() if client.up]
            return up[0] if up else None
        key = command[3] if name in ("EVALSHA", "EVAL") and len(command) > 3 and command[2] else command[1]
        return self._slots[self._slot_of(key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogatepass"))]

    def _answered(self, outer: Future, command: Command, timeout: float | None, inner: Future) -> None:
        if inner.cancelled() or outer.done():
            return
        error = inner.exception()
        if error is None:
            outer.set_result(inner.result())
        elif isinstance(error, Refusal) and error.code in ("MOVED", "ASK"):
            self._redirect(outer, command, timeout, error)
        else:
            _raise(outer, error)

    def _redirect(self, outer: Future, command: Command, timeout: float | None, error: Refusal) -> None:
        """To where the answer says: `MOVED SLOT HOST:PORT`, or ASK for this once."""
        self._stale.set()
        host, _, port = str(error).split()[2].rpartition(":")
        known = self._clients.get((host, int(port)))
        if known is None:
            _raise(outer, error)
            return
        if error.code == "ASK":
            known[0].do("ASKING", timeout=timeout)
        known[0].do(*command, timeout=timeout).add_done_callback(partial(_pass_on, outer))

    async def settled(self) -> None:
        """Return when the layout was asked for once, and its primaries were tried."""
        await self._tried.wait()

    async def run(self) -> None:
        """Keep the layout, the connections and the subscriptions until cancelled; then close."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.subscriber.run(), name="state subscriptions")
            while True:
                try:
                    self._apply(await self._learn(), group)
                    for client, _ in self._clients.values():
                        await client.settled()
                except StateError as error:
                    if not self._tried.is_set():
                        _log.warning("no state store: %s", error, extra={"store": self.settings.told})
                    self._why = StateError(f"the state store is down: {error}", "down")
                self._tried.set()
                await self._wait()

    async def _wait(self) -> None:
        self.meter.up.value = int(self.up)
        try:
            async with asyncio.timeout(LOOK if self._whole() else LOOK_SOON):
                await self._stale.wait()
        except TimeoutError:
            return
        self._stale.clear()
        await asyncio.sleep(LOOK_SOON)

    def _whole(self) -> bool:
        return bool(self._clients) and all(client.up for client, _ in self._clients.values())

    async def _learn(self) -> dict[int, Address]:
        """Which primary has which slot. Raises `StateError`."""
        from redis.asyncio.cluster import ClusterNode, RedisCluster
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisClusterException, RedisError

        settings = self.settings
        known = dict.fromkeys([*self._clients, *settings.addresses])
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in known],
            username=settings.user or None,
            password=settings.password() or None,
            require_full_coverage=False,
            socket_timeout=settings.connect_timeout,
            socket_connect_timeout=settings.connect_timeout,
            retry=Retry(NoBackoff(), 0),
            **tls_options(settings),
        )
        try:
            async with asyncio.timeout(settings.connect_timeout * len(known)):
                await cluster.initialize()
            slots = cluster.nodes_manager.slots_cache
            return {slot: (str(nodes[0].host), int(nodes[0].port)) for slot, nodes in slots.items()}
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            raise StateError(f"cannot reach the cluster: {error or 'it does not answer'}", "lost") from error
        finally:
            await cluster.aclose()

    def _apply(self, slots: dict[int, Address], group: asyncio.TaskGroup) -> None:
        wanted = set(slots.values())
        for gone in self._clients.keys() - wanted:
            self._clients.pop(gone)[1].cancel()
        for address in wanted - self._clients.keys():
            client = Client(replace(self.settings, form="server", addresses=(address,)), self._meter_of_one())
            self._clients[address] = client, group.create_task(client.run(), name="state of a primary")
        for slot in range(SLOTS):
            self._slots[slot] = self._clients[slots[slot]][0] if slot in slots else None

    def _meter_of_one(self) -> Meter:
        """That of a primary: whether it is up says nothing of the whole."""
        return Meter(self.meter.commands, self.meter.errors, self.meter.seconds)

    async def _reach_any(self) -> Connection:
        """A connection to any member that answers. Raises `StateError`."""
        error = self._why
        for address in [*self._clients, *self.settings.addresses]:
            try:
                return await connect(self.settings, address)
            except StateError as failure:
                error = failure
        raise error


def _pass_on(outer: Future, inner: Future) -> None:
    if inner.cancelled() or outer.done():
        return
    error = inner.exception()
    if error is None:
        outer.set_result(inner.result())
    else:
        _raise(outer, error)


def _raise(future: Future, error: BaseException) -> None:
    future.set_exception(error)
    future.exception()


def make(settings: Settings, meter: Meter | None = None) -> Client | ClusterClient:
    """The client for these settings, to be `run`."""
    kind: Any = ClusterClient if settings.form == "cluster" else Client
    client: Client | ClusterClient = kind(settings, meter)
    return client
