"""`State` over one server, whichever way it is found. It is never waited for while it is known to be away.

Commands of one turn of the event loop leave in one write, and answers are told apart by their order, so no command
waits for another's answer. What is not answered in time raises for whoever waits; if nothing at all was heard in that
time, or five commands in a row were late, the store is taken to be down: what waits fails, new commands fail at once,
and only probes are sent, until one is answered within the time that a command has. So a store that is dead, stopped or
slow costs what is under way when that begins, once, and no request after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from state import Argument, Script, StateError
from state.backoff import Backoff
from state.batch import Batch, Command, Future, fail
from state.locate import reach
from state.meter import Meter
from state.pipe import Pipe
from state.resp import Refusal
from state.scripts import StoredScript
from state.settings import Settings
from state.subscriber import Subscriber

LATE_IN_A_ROW = 5
QUIET = 1.0
"""Seconds without a word from the store after which it is asked whether it is there."""
STABLE = 5.0
"""Seconds up after which the next outage is probed as promptly as the first."""

_log = logging.getLogger(__name__)


class Client:
    """The store of `settings`. `run` keeps the connection; until it has one, all commands fail at once."""

    def __init__(self, settings: Settings, meter: Meter | None = None) -> None:
        self.settings = settings
        self.meter = meter or Meter()
        self.subscriber = Subscriber(partial(reach, settings))
        self.up = False
        self._loop = asyncio.get_running_loop()
        self._why = StateError("the store was not reached yet", "down")
        self._pipe: Pipe | None = None
        self._commands: list[Command] = []
        self._futures: list[Future] = []
        self._due: deque[Batch] = deque()
        self._timing = False
        self._heard = 0.0
        self._late = 0
        self._trouble = asyncio.Event()
        self._tried = asyncio.Event()
        self._since = self._loop.time()
        self._backoff = Backoff(0.02, 1.0)

    # state.State

    def key(self, *parts: str) -> str:
        """The name of a key below the prefix."""
        return ":".join((self.settings.prefix, *parts))

    def do(self, *command: Argument, timeout: float | None = None) -> Future:
        """See `state.State`."""
        future = self._loop.create_future()
        if not self.up:
            self._refuse(future)
        elif timeout is not None:
            self._flush()
            now = self._loop.time()
            batch = Batch([command], [future], now, now + timeout)
            self._send(batch)
            self._loop.call_at(batch.due, self._overdue_soon, batch)
        else:
            if not self._commands:
                self._loop.call_soon(self._flush)
            self._commands.append(command)
            self._futures.append(future)
        return future

    def script(self, name: str, source: str) -> Script:
        """See `state.State`."""
        return StoredScript(self.do, source)

    def on_message(self, channel: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        """See `state.State`."""
        return self.subscriber.on(self.key(channel), told)

    # Commands out, answers in

    def _flush(self) -> None:
        if not self._commands:
            return
        now = self._loop.time()
        batch = Batch(self._commands, self._futures, now, now + self.settings.timeout)
        self._commands, self._futures = [], []
        if not self._send(batch):
            return
        self._due.append(batch)
        if not self._timing:
            self._timing = True
            self._loop.call_at(batch.due, self._look_soon)

    def _send(self, batch: Batch) -> bool:
        pipe = self._pipe
        if not self.up or pipe is None or pipe.behind:
            for future in batch.futures:
                self._refuse(future)
            return False
        self.meter.commands.value += len(batch.commands)
        pipe.send(batch)
        return True

    def _refuse(self, future: Future) -> None:
        if not future.done():
            self.meter.errors("down").value += 1
            fail(future, self._why if not self.up else StateError("the store does not keep up", "down"))

    def _take(self, batch: Batch, answers: Sequence[Any]) -> None:
        self._heard = self._loop.time()
        if self._heard - batch.sent <= self.settings.timeout:
            self._late = 0
        at, futures = batch.at, batch.futures
        for answer in answers:
            future = futures[at]
            at += 1
            if future.done():
                continue
            if isinstance(answer, Refusal):
                self._refused(future, answer)
            else:
                future.set_result(answer)
        batch.at = at
        if at == len(futures):
            self.meter.seconds.observe(self._heard - batch.sent)

    def _refused(self, future: Future, answer: Refusal) -> None:
        if answer.code != "NOSCRIPT":
            self.meter.errors(answer.reason).value += 1
        future.set_exception(answer)
        future.exception()
        if answer.reason == "down" and self._pipe is not None:
            self._pipe.close(answer)  # a replica now, or loading: the master may be elsewhere

    # Time

    def _look_soon(self) -> None:
        """libuv runs timers before it reads sockets. After a pause of this process's own, answers may lie there; two
        turns later they were read."""
        self._loop.call_soon(self._loop.call_soon, self._look)

    def _look(self) -> None:
        """Fail what is overdue, and come back when the next one is."""
        now, due = self._loop.time(), self._due
        while due and (due[0].due <= now or due[0].at == len(due[0].futures)):
            batch = due.popleft()
            if batch.at < len(batch.futures):
                self._overdue(batch)
        self._timing = bool(due)
        if due:
            self._loop.call_at(due[0].due, self._look_soon)

    def _overdue_soon(self, batch: Batch) -> None:
        self._loop.call_soon(self._loop.call_soon, self._overdue, batch)

    def _overdue(self, batch: Batch) -> None:
        error = StateError(f"the store did not answer within {(batch.due - batch.sent) * 1000:.0f} ms", "timeout")
        late = batch.fail(error)
        self.meter.errors("timeout").value += late
        self._late += late
        if late and self.up and (self._heard < batch.sent or self._late >= LATE_IN_A_ROW):
            self._fall(error)

    # Up and down

    async def settled(self) -> None:
        """Return when the store was tried once, whether or not it is up."""
        await self._tried.wait()

    async def run(self) -> None:
        """Keep a connection, and the subscriptions, until cancelled; then close."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.subscriber.run(), name="state subscriptions")
            while True:
                try:
                    await self._hold()
                except StateError as error:
                    self._fall(error)
                await asyncio.sleep(self._backoff.next())

    async def _hold(self) -> None:
        """Connect, and go on for as long as that connection is of use. Raises `StateError`."""
        self._pipe = pipe = Pipe(await reach(self.settings), self._take)
        pipe.lost = self._fall
        try:
            while True:
                await self._probe(pipe)
                await self._wait_for_trouble()
        finally:
            self._pipe = None
            pipe.lost = lambda error: None
            pipe.close(StateError("the gateway closed the connection to the store", "lost"))

    async def _probe(self, pipe: Pipe) -> None:
        """Return when the store answers as fast as a command may take. Raises `StateError` if it does not at all."""
        while True:
            if not pipe.open:
                raise pipe.why or StateError("the connection to the store ended", "lost")
            self._trouble.clear()
            sent = self._loop.time()
            future = self._loop.create_future()
            pipe.send(Batch([("PING",)], [future], sent, sent))
            try:
                async with asyncio.timeout(self.settings.connect_timeout):
                    await future
            except TimeoutError:
                raise StateError("the store does not answer", "timeout") from None
            took = self._loop.time() - sent
            if took <= self.settings.timeout:
                self._rise()
                return
            self._fall(StateError(f"the store takes {took * 1000:.0f} ms to answer", "timeout"))

    async def _wait_for_trouble(self) -> None:
        """Until there is some, or nothing was heard for a while."""
        while not self._trouble.is_set():
            try:
                async with asyncio.timeout(QUIET):
                    await self._trouble.wait()
            except TimeoutError:
                if self._loop.time() - self._heard >= QUIET:
                    return

    def _rise(self) -> None:
        self._tried.set()
        self._late = 0
        if self.up:
            return
        self.up = True
        self.meter.up.value = 1
        self._since = self._loop.time()
        _log.info("the state store answers", extra={"store": self.settings.told})

    def _fall(self, error: StateError) -> None:
        """The store is down: nobody waits for it any more."""
        self._trouble.set()
        self.meter.up.value = 0
        self._why = StateError(f"the state store is down: {error}", "down")
        if self.up or not self._tried.is_set():
            self.up = False
            if self._loop.time() - self._since >= STABLE:
                self._backoff.reset()
            self._tried.set()
            _log.warning("no state store: %s", error, extra={"store": self.settings.told})
        while self._due:
            self.meter.errors(error.reason).value += self._due.popleft().fail(error)
