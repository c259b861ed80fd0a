"""One place of a managed pool: keeps one Triton of the wanted launch running there.

A Triton that ends is started again, after a wait that doubles; one that runs and does not answer is killed first. One
whose launch changed is replaced without a gap: the new one first, and when that is ready the old one leaves the
endpoints, finishes what it has, and is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Literal, Protocol

from config.schema import Managed
from gateway.backoff import Backoff
from gateway.control.launch import Launch, Ports, are_free, free_ports
from gateway.control.poller import Client
from gateway.control.silence import Silence
from gateway.control.triton_process import Place, StartError, TritonProcess

STABLE = 30.0
"""Seconds that a Triton must have run for the next one to be started as promptly as at first."""
CRASH_WINDOW = 600.0
"""Seconds in which `crash_loop` ends make a crash loop."""
STOP_GRACE = 35.0
"""Seconds after SIGTERM: a Triton gives its models 30 to finish, `--exit-timeout-secs`."""

Cause = Literal["ended", "start", "hung"]
"""It ended by itself, did not come up, or ran and did not answer."""

_log = logging.getLogger(__name__)


class Host(Protocol):
    """What a replica needs of its pool."""

    name: str
    rolling: asyncio.Lock
    client: Callable[[str], Client]
    clock: Callable[[], float]
    prepared: Callable[[str], Awaitable[None]]
    """Return when the desired models are loaded at this address. Raises `StartError`."""
    left: Callable[[str], Awaitable[None]]
    """Return when nobody uses this address any more, which is no endpoint now."""

    def place(self, replica: int, generation: int) -> Place:
        """The files of a replica's process; two generations live at once while one replaces the other."""

    def taken_ports(self) -> Collection[int]:
        """Ports that processes of this gateway have."""

    def changed(self) -> None:
        """The endpoints, or what is wrong, are others."""

    def restarted(self, replica: int, cause: Cause) -> None:
        """A Triton ended that should not have."""


class Replica:
    """`keep` runs it; `wish` changes what is wanted; `leave` ends it in peace."""

    def __init__(self, host: Host, number: int, launch: Launch, settings: Managed) -> None:
        self.number = number
        self.state = "starting"
        self.reason = ""
        self.ends = 0
        self.last_end = ""
        self._host = host
        self._launch = launch
        self._settings = settings
        self._serving: TritonProcess | None = None
        self._starting: TritonProcess | None = None
        self._draining: TritonProcess | None = None
        self._leaving = False
        self._ends: deque[float] = deque(maxlen=settings.crash_loop)
        self._silence = Silence(host.clock)
        self._last_ports: Ports | None = None
        self._since = 0.0
        self._wake = asyncio.Event()
        self._backoff = Backoff(settings.backoff, settings.max_backoff, random.uniform)
        self._adopt()

    # What the pool asks

    @property
    def serving(self) -> TritonProcess | None:
        """The process that takes requests now."""
        return self._serving if self._serving is not None and self._serving.ready else None

    @property
    def processes(self) -> list[TritonProcess]:
        """All that run, whatever their state."""
        return [each for each in (self._serving, self._starting, self._draining) if each is not None]

    @property
    def crash_loop(self) -> bool:
        """It ended as often as is called so."""
        ends = self._ends
        return len(ends) == ends.maxlen and self._host.clock() - ends[0] < CRASH_WINDOW

    def trouble(self) -> str:
        """What is wrong with it, "" if nothing is."""
        if not self.reason:
            return ""
        verdict = f"crash loop, {len(self._ends)} ends in {CRASH_WINDOW / 60:g} minutes: " if self.crash_loop else ""
        return f"replica {self.number}: {verdict}{self.reason}"

    def polled(self, live: bool) -> None:
        """A poll of the serving Triton ended."""
        self._silence.poll(live)
        if self._hung:
            self._wake.set()

    @property
    def _hung(self) -> bool:
        limit = self._settings.hung_after
        return limit is not None and self._silence.seconds >= limit

    def wish(self, launch: Launch, settings: Managed) -> None:
        """Run this from now on."""
        if launch != self._launch:
            self._ends = deque(maxlen=settings.crash_loop)
            self._backoff = Backoff(settings.backoff, settings.max_backoff, random.uniform)
        self._launch, self._settings = launch, settings
        self._wake.set()

    def leave(self) -> None:
        """Let `keep` drain, stop, and return."""
        self._leaving = True
        self._wake.set()

    async def stop(self, grace: float) -> None:
        """End what runs, at most `grace` seconds from now. `keep` must have been cancelled."""
        await asyncio.gather(*(process.stop(grace) for process in self.processes))

    def let_go(self) -> None:
        """Leave what runs to the next control. `keep` must have been cancelled."""
        for process in self.processes:
            process.let_go()

    # What it does

    async def keep(self) -> None:
        """Keep a Triton running until `leave`."""
        while not self._leaving:
            self._wake.clear()
            if self._serving is None or self._serving.ended.is_set():
                await self._bring_up()
            elif self._hung:
                await self._end_hung(self._serving)
            elif self._serving.key != self._launch.key:
                await self._roll()
            else:
                await self._wake.wait()
        if self._serving is not None:
            await self._retire(self._serving)

    def _adopt(self) -> None:
        """Take over what the control before this one had here. Of two, one was to replace the other: the one that is
        ready and of the wanted launch stays."""
        found = [TritonProcess.adopt(self._host.place(self.number, generation)) for generation in (0, 1)]
        running = [each for each in found if each is not None]
        running.sort(key=lambda each: (each.ready, each.key == self._launch.key), reverse=True)
        for process in running[1:]:
            process.kill()
        if running and running[0].ready:
            self._take(running[0])
            _log.info("took over a Triton", extra=self._told(running[0]))
        elif running:
            running[0].kill()

    def _take(self, process: TritonProcess) -> None:
        self._serving = process
        self._since = self._host.clock()
        self._last_ports = process.ports
        self._silence = Silence(self._host.clock)
        self.state, self.reason = "ready", ""
        process.on_end = self._ended

    def _ended(self) -> None:
        """The serving process ended: out of the endpoints at once."""
        self.state = "down"
        self._wake.set()
        self._host.changed()

    async def _bring_up(self) -> None:
        """Start one where none runs; after a failure, wait."""
        if self._serving is not None:
            self._wake.clear()
            self._lost("ended", f"{self._serving.end_told()}{self._serving.last_words()}")
            self._serving.kill()
            self._serving = None
            await self._pause()
            if self._leaving:
                return
        self.state = "starting"
        began = self._host.clock()
        try:
            process = await self._start()
        except StartError as error:
            self._count_end("start", str(error))
            await self._pause()
            return
        _log.info("a Triton is ready", extra=self._told(process) | {"seconds": round(self._host.clock() - began, 2)})
        self._take(process)
        self._host.changed()

    async def _end_hung(self, old: TritonProcess) -> None:
        """Out of the endpoints; what it may have yet is waited for; then SIGKILL: it may not hear of SIGTERM."""
        reason = f"it runs, but has not answered for {self._silence.seconds:.0f} s{old.last_words()}"
        self._silence = Silence(self._host.clock)
        await self._empty(old)
        old.kill()
        self._draining = None
        self._wake.clear()
        self._lost("hung", reason)
        await self._pause()

    async def _start(self) -> TritonProcess:
        """A Triton of the wanted launch that answers. Raises `StartError`; then, or when cancelled, none is left."""
        launch, settings = self._launch, self._settings
        ports = self._choose_ports(launch.host, settings.ports)
        in_use = None if self._serving is None else self._serving.place
        place = next(each for each in (self._host.place(self.number, n) for n in (0, 1)) if each != in_use)
        process = self._starting = TritonProcess.start(launch, ports, place)
        try:
            await process.wait_ready(self._host.client(process.address), settings.start_timeout)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                process.kill()
                self._starting = None
            raise
        self._starting = None
        return process

    def _choose_ports(self, host: str, first: int) -> Ports:
        """The last ones again if they are free, so that the address of a restarted Triton stays."""
        taken = self._host.taken_ports()
        last, self._last_ports = self._last_ports, None
        try:
            if last is not None and not set(last) & set(taken) and are_free(host, last):
                return last
            return free_ports(host, first, taken)
        except OSError as error:
            raise StartError(str(error)) from error

    async def _roll(self) -> None:
        """Replace the serving Triton; one replica of the pool at a time. If the new one does not come up, the old one
        stays, and after a wait it is tried again."""
        async with self._host.rolling:
            if self._leaving or self._serving is None or self._serving.ended.is_set():
                return
            old, launch = self._serving, self._launch
            try:
                fresh = await self._start()
                await self._prepare(fresh)
            except StartError as error:
                self.reason = f"the changed one does not come up, the one before goes on: {error}"
                _log.error("a changed Triton does not come up", extra=self._told(old) | {"reason": str(error)})
                self._host.changed()
                fresh = None
            if fresh is not None:
                self._take(fresh)
                self._host.changed()
                _log.info("a changed Triton took over", extra=self._told(fresh) | {"launch": launch.key})
                await self._retire(old)
        if fresh is None:
            await self._pause()

    async def _prepare(self, fresh: TritonProcess) -> None:
        self._starting = fresh
        try:
            async with asyncio.timeout(self._settings.start_timeout):
                await self._host.prepared(fresh.address)
            if fresh.ended.is_set():
                raise StartError(f"{fresh.end_told()}{fresh.last_words()}")
        except (StartError, TimeoutError) as error:
            await fresh.stop(STOP_GRACE)
            self._starting = None
            raise StartError(str(error) or "its models are not loaded in time") from error
        self._starting = None

    async def _retire(self, old: TritonProcess) -> None:
        """Out of the endpoints, then what it has is finished, then it ends."""
        await self._empty(old)
        await old.stop(STOP_GRACE)
        self._draining = None
        _log.info("a Triton is stopped", extra=self._told(old))
        self._host.changed()

    async def _empty(self, old: TritonProcess) -> None:
        """Out of the endpoints; return when it has nothing any more, or after `drain_timeout`."""
        self._draining = old
        old.on_end = lambda: None
        if self._serving is old:
            self._serving = None
            self.state = "draining"
            self._host.changed()
        if not old.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_timeout):
                    await self._host.left(old.address)

    def _lost(self, cause: Cause, reason: str) -> None:
        """The serving one is no more. If it had run for long, the next one is started as promptly as at first."""
        if self._host.clock() - self._since >= STABLE:
            self._backoff.reset()
        self._count_end(cause, reason)

    def _count_end(self, cause: Cause, reason: str) -> None:
        self.state, self.reason = "down", reason
        self.ends, self.last_end = self.ends + 1, reason
        was_loop = self.crash_loop
        self._ends.append(self._host.clock())
        self._host.restarted(self.number, cause)
        extra = {"pool": self._host.name, "replica": self.number, "cause": cause, "reason": reason}
        _log.error("a Triton ended, did not come up, or hung", extra=extra)
        if self.crash_loop and not was_loop:
            _log.error("a Triton is in a crash loop; it is tried again ever more rarely", extra=extra)
        self._host.changed()

    async def _pause(self) -> None:
        """Wait before the next start; a changed wish ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.next()):
                await self._wake.wait()

    def _told(self, process: TritonProcess) -> dict[str, object]:
        names = {"pool": self._host.name, "replica": self.number}
        return names | {"endpoint": process.address, "triton_pid": process.pid}
