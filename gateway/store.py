"""The shared state of one process: the client of the store that the current configuration names.

Policies keep one object for as long as the process runs; when a configuration names another store, the client behind
it is exchanged, and what was subscribed to is subscribed to there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from config.schema import Config
from config.store_url import parse_store
from gateway.tasks import spawn
from gateway.telemetry.metrics import Metrics
from state import Argument, Script, StateError
from state.batch import Future, fail
from state.client import Client
from state.cluster import ClusterClient, make
from state.meter import Meter
from state.scripts import StoredScript
from state.settings import PasswordFile, PasswordVariable, Settings, Tls, no_password

Told = Callable[[bytes], None]
DEFAULT_PREFIX = "penstock"


def settings_of(config: Config) -> Settings | None:
    """Where the store is; None if there is none, or it is an embedded one that is not `located`."""
    state = config.state
    if state is None:
        return None
    common = Settings(prefix=state.prefix, timeout=state.timeout, connect_timeout=state.connect_timeout)
    store = parse_store(state.url)
    if store.form == "embedded" or store.form == "none":
        return None
    password = (
        PasswordFile(state.password_file)
        if state.password_file
        else PasswordVariable(state.password_env)
        if state.password_env
        else no_password
    )
    return replace(
        common,
        form=store.form,
        path=store.path,
        addresses=store.addresses,
        service=store.service,
        database=store.database,
        user=store.user,
        password=password,
        tls=Tls(state.ca or "", state.certificate or "", state.key or "") if store.tls else None,
    )


class Store:
    """A `state.State`. `follow` a configuration to have one; until then, and with `state: none`, it is down."""

    def __init__(self, metrics: Metrics, process: str, patient: bool = False) -> None:
        """`process` is what metrics call this one. A `patient` one is not on the path of requests: its commands may
        take as long as a connection."""
        self._metrics = metrics
        self._process = process
        self._patient = patient
        self._settings: Settings | None = None
        self._client: Client | ClusterClient | None = None
        self._running: asyncio.Task[None] | None = None
        self._listeners: dict[tuple[str, Told], Callable[[], None]] = {}

    @property
    def configured(self) -> bool:
        """Whether the configuration has a store."""
        return self._client is not None

    @property
    def up(self) -> bool:
        """See `state.State`."""
        return self._client is not None and self._client.up

    def key(self, *parts: str) -> str:
        """See `state.State`."""
        prefix = self._settings.prefix if self._settings is not None else DEFAULT_PREFIX
        return ":".join((prefix, *parts))

    def do(self, *command: Argument, timeout: float | None = None) -> Future:
        """See `state.State`."""
        if self._client is not None:
            return self._client.do(*command, timeout=timeout)
        future = asyncio.get_running_loop().create_future()
        fail(future, StateError("the configuration has no state store", "down"))
        return future

    def script(self, name: str, source: str) -> Script:
        """See `state.State`."""
        return StoredScript(self.do, source)

    def on_message(self, channel: str, told: Told) -> Callable[[], None]:
        """See `state.State`."""
        key = (channel, told)
        self._listeners[key] = self._subscribe(channel, told)

        def off() -> None:
            self._listeners.pop(key, lambda: None)()

        return off

    def _subscribe(self, channel: str, told: Told) -> Callable[[], None]:
        return self._client.on_message(channel, told) if self._client is not None else lambda: None

    def follow(self, config: Config) -> None:
        """Use the store of this configuration from now on."""
        settings = settings_of(config)
        if settings is not None and self._patient:
            settings = replace(settings, timeout=settings.connect_timeout)
        if settings == self._settings:
            return
        self._end()
        self._settings = settings
        if settings is None:
            return
        client = make(settings, meter_of(self._metrics, self._process))
        self._client = client
        self._running = spawn(client.run(), "state store")
        for (channel, told), _ in list(self._listeners.items()):
            self._listeners[channel, told] = self._subscribe(channel, told)

    async def settled(self) -> None:
        """Return when the store was tried once, if there is one."""
        if self._client is not None:
            await self._client.settled()

    async def close(self) -> None:
        """Close its connections."""
        running = self._running
        self._end()
        if running is not None:
            await asyncio.wait([running])

    def _end(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._running = self._client = self._settings = None


def meter_of(metrics: Metrics, process: str) -> Meter:
    """The cells of these metrics."""
    return Meter(
        metrics.counter("penstock_state_commands_total"),
        lambda reason: metrics.counter("penstock_state_errors_total", (reason,)),
        metrics.histogram("penstock_state_seconds"),
        metrics.gauge("penstock_state_up", (process,)),
    )
