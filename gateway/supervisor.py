"""The first process: starts the embedded store if there is one, control and the workers, starts them again when they
end, passes signals on, and reaps what those leave behind.

It does nothing else, and imports little, so that there is little in it that can fail. Children are started by exec,
never by a bare fork, in sessions of their own: Ctrl-C reaches the supervisor alone, which ends them in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from config.schema import Drain
from gateway.backoff import Backoff
from gateway.lifeline import Exit
from gateway.orphans import Reaper, adopt
from gateway.tasks import spawn

STABLE = 30.0
"""Seconds after which a process that ends is started as promptly as at first."""
GRACE = 5.0
"""Seconds beyond `drain.timeout`, and for control, before SIGKILL."""
STORE_START = 3.0
"""Seconds that the embedded store has to open its socket before the others are started without it."""
STORE_POLL = 0.01

_log = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True):
    """What to run: the command line that a role's arguments are appended to, and how it ends. `store` is the socket of
    an embedded store that is to be run, "" for none."""

    launcher: tuple[str, ...]
    directory: str
    workers: int
    drain: Drain
    log_level: str = "info"
    store: str = ""

    def command(self, role: str, *arguments: str) -> list[str]:
        """The command line of a child."""
        common = ("--run-directory", self.directory, "--supervisor", str(os.getpid()), "--log-level", self.log_level)
        return [*self.launcher, role, *common, *arguments]


def own_launcher() -> tuple[str, ...]:
    """This program. `-P` keeps a `gateway/` in the directory of the caller from being taken for ours."""
    return (sys.executable, "-P", "-m", "gateway")


def environment() -> dict[str, str]:
    """The environment of children: they import the packages that this process did, installed or not."""
    root = str(Path(__file__).resolve().parent.parent)
    if root in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        return dict(os.environ)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


class Child:
    """One process that is to run until told otherwise."""

    def __init__(
        self, name: str, command: Sequence[str], fatal: Callable[[Child], None], reaper: Reaper | None = None
    ) -> None:
        self.name = name
        self._reaper = reaper or Reaper()
        self.code: int | None = None
        self._command = command
        self._fatal = fatal
        self._process: Process | None = None
        self._ending = asyncio.Event()
        self._starts = 0
        self._backoff = Backoff(0.1, 10.0)

    async def keep(self) -> None:
        """Run the process, again whenever it ends, until `end`. Then `code` is its last exit code."""
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            started = loop.time()
            self.code = await self._run_once()
            if self._ending.is_set():
                return
            if self.code == Exit.CANNOT_LISTEN and self._starts == 1:
                self._fatal(self)
                return
            if loop.time() - started >= STABLE:
                self._backoff.reset()
            await self._pause()

    async def _run_once(self) -> int:
        self._starts += 1
        try:
            with self._reaper.starting():
                process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=DEVNULL, start_new_session=True, env=environment()
                )
                self._reaper.own.add(process.pid)
        except OSError as error:
            _log.error("cannot start %s: %s", self.name, error)
            return Exit.FAILED
        self._process = process
        if self._ending.is_set():
            self.send(signal.SIGTERM)
        code = await process.wait()
        self._reaper.own.discard(process.pid)
        self._process = None
        return code

    async def _pause(self) -> None:
        wait = self._backoff.next()
        _log.error("%s ended (%s); starting it again in %.1f s", self.name, _told(self.code), wait)
        try:
            async with asyncio.timeout(wait):
                await self._ending.wait()
        except TimeoutError:
            pass  # the wait is over

    def hold(self) -> None:
        """Do not start it again."""
        self._ending.set()

    def end(self) -> None:
        """Send SIGTERM, and do not start it again."""
        self.hold()
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


class Supervisor:
    """Keeps control and the workers running; `stop` ends all in order, a second `stop` at once."""

    def __init__(self, settings: Settings) -> None:
        self._drain = settings.drain
        self._failed = False
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._reaper = Reaper()
        self._store = store_child(settings, self._fail, self._reaper) if settings.store else None
        self._store_socket = settings.store
        control = settings.command("control", "--workers", str(settings.workers))
        self._control = Child("control", control, self._fail, self._reaper)
        self._workers = [
            Child(f"worker {index}", settings.command("worker", "--index", str(index)), self._fail, self._reaper)
            for index in range(settings.workers)
        ]

    def stop(self) -> None:
        """Drain; when draining already, kill."""
        (self._now if self._stop.is_set() else self._stop).set()

    async def run(self) -> int:
        """Run until stopped. Returns 0 if all workers drained, else 1."""
        self._adopt_orphans()
        keepers: dict[Child, asyncio.Task[None]] = {}
        if self._store is not None:
            keepers[self._store] = spawn(self._store.keep(), "keeper of the store")
            await store_there(self._store_socket)
        for child in (self._control, *self._workers):
            keepers[child] = spawn(child.keep(), f"keeper of {child.name}")
        await self._stop.wait()
        await self._end([keepers[child] for child in self._workers], keepers[self._control])
        if self._store is not None:
            self._store.end()
            await self._wait(GRACE, [keepers[self._store]])
        killed = [child.name for child, keeper in keepers.items() if not keeper.done()]
        for child in keepers:
            child.send(signal.SIGKILL)
        await asyncio.wait(keepers.values())
        if killed:
            _log.error("killed, did not end in time: %s", ", ".join(killed))
        drained = all(child.code in (Exit.OK, -signal.SIGTERM) for child in self._workers)
        return Exit.OK if drained and not killed and not self._failed else Exit.FAILED

    def _adopt_orphans(self) -> None:
        try:
            adopt()
        except OSError as error:
            _log.warning("orphans are left to the init of this system: %s", error)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reaper.reap)

    def _fail(self, child: Child) -> None:
        _log.error("%s cannot open its port; giving up", child.name)
        self._failed = True
        self._stop.set()

    async def _end(self, workers: Sequence[asyncio.Task[None]], control: asyncio.Task[None]) -> None:
        """Readiness fails first, for `drain.delay`, so that balancers look away; then the workers; control last."""
        _log.info("stopping")
        self._control.end()
        if not self._failed:
            await self._wait(self._drain.delay)
        for worker in self._workers:
            worker.end()
        await self._wait(self._drain.timeout + GRACE, workers)
        self._control.send(signal.SIGINT)
        await self._wait(GRACE, [control])

    async def _wait(self, timeout: float, tasks: Sequence[asyncio.Task[None]] = ()) -> None:
        """For `timeout` seconds, or until all of `tasks` ended if there are any, or it is to be now."""
        until: list[asyncio.Task[Any]] = [spawn(self._now.wait(), "second signal")]
        if tasks:
            until.append(spawn(asyncio.wait(tasks), "children to end"))
        await asyncio.wait(until, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in until:
            task.cancel()


def store_child(settings: Settings, fatal: Callable[[Child], None], reaper: Reaper | None = None) -> Child:
    """The embedded store."""
    return Child("the state store", settings.command("store"), fatal, reaper)


async def store_there(socket: str) -> None:
    """Return when the store listens, or has been waited for long enough: the gateway goes on without it."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + STORE_START
    while not os.path.exists(socket) and loop.time() < limit:  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(STORE_POLL)


def _told(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
