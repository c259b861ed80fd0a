"""When the metrics page of an endpoint is read: at its interval while something goes on there, else more rarely."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from time import monotonic, thread_time
from typing import Protocol

from config.schema import Metrics as Settings
from gateway.control.load import EndpointLoad
from gateway.control.metrics_page import Gpu, Key, PageError, Reader
from gateway.control.pace import GRID, Budget, Pace, on_grid
from gateway.control.page_client import NoPage
from gateway.control.typical import Typicals
from gateway.telemetry.metrics import Metrics

JITTER = 0.1
"""The share of a pause by which it varies, so that the pages of many endpoints spread out."""
FAILURES_TOLD = 3
"""Failures in a row that are worth a line in the log."""
FORGOTTEN = 10.0
"""Seconds without a page after which the last one tells nothing: the workers measure by themselves."""

_log = logging.getLogger(__name__)


class Client(Protocol):
    """What gets the page."""

    async def get(self, timeout: float) -> bytes:
        """The page, within `timeout` seconds. Raises `NoPage`."""

    def close(self) -> None:
        """Let go of the connection."""


class Scraper:
    """Reads the page of one endpoint. After each, `taken` gets the models whose load is not as it was, the time of the
    page and whether other models are on it than before. `lost` is
    called when there is no page where there was one.

    `own` tells what this node has in flight at the endpoint, by model version, without those that have nothing.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        client: Client,
        own: Callable[[], Mapping[Key, float]],
        taken: Callable[[set[Key], float, bool], None],
        lost: Callable[[], None],
        metrics: Metrics,
        turns: asyncio.Semaphore,
        budget: Budget,
        clock: Callable[[], float] = monotonic,
        typicals: Typicals | None = None,
    ) -> None:
        self.load = EndpointLoad(typicals)
        self.at = 0.0
        self.gpus: tuple[Gpu, ...] = ()
        self.failure = "not read yet"
        self._name = name
        self._timeout = settings.timeout
        self._client = client
        self._own = own
        self._taken = taken
        self._lost = lost
        self._metrics = metrics
        self._turns = turns
        self._budget = budget
        self._clock = clock
        self._pace = Pace(settings.interval)
        self._reader = Reader()
        self._sleep: asyncio.Future[None] | None = None
        self._told = False

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                async with self._turns:
                    pause = await self._look()
                await self._rest(pause * self._budget.stretch * random.uniform(1 - JITTER, 1 + JITTER))
        finally:
            self._client.close()

    def wake(self) -> None:
        """Something begins at the endpoint: look now, and at the interval from now on."""
        self._pace.wake()
        if self._sleep is not None:
            _wake(self._sleep)

    @property
    def healthy(self) -> bool:
        """The last look found a page."""
        return not self.failure

    @property
    def quiet(self) -> bool:
        """It looks rarely, since nothing goes on."""
        return self._pace.quiet

    async def _rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        sleep = self._sleep = loop.create_future()
        timer = loop.call_at(on_grid(loop.time() + seconds - GRID / 2), _wake, sleep)
        try:
            await sleep
        finally:
            timer.cancel()

    async def _look(self) -> float:
        """Read the page once; how long to wait for the next time."""
        before = self._own()
        try:
            text = await self._client.get(self._timeout)
            begun = thread_time()
            self._take(text, before)
        except NoPage as error:
            return self._fail(error.failure, str(error))
        except PageError as error:
            return self._fail("bad", str(error))
        self._count("ok")
        cpu = thread_time() - begun
        self._budget.spend(cpu)
        return self._pace.good(self.load.warm, cpu)

    def _take(self, text: bytes, before: Mapping[Key, float]) -> None:
        now = self._clock()
        page = self._reader.read(text)
        own = self._own()
        if before != own:
            own = {key: max(before.get(key, 0.0), own.get(key, 0.0)) for key in before.keys() | own.keys()}
        known = self.load.models
        other = self.at > 0 and any((key in known) != (key in page.models) for key in page.changed)
        touched = self.load.update(page, own, now)
        self.gpus = page.gpus
        if self._told:
            _log.info("reading the metrics of an endpoint again", extra={"endpoint": self._name})
        self.failure, self._told, self.at = "", False, now
        self._taken(touched, now, other)

    def _fail(self, result: str, text: str) -> float:
        self._count(result)
        if self.healthy:
            self._lost()
        self.failure = text
        pause = self._pace.failed()
        if self._pace.failures == FAILURES_TOLD and not self._told:
            _log.warning("cannot read the metrics of an endpoint", extra={"endpoint": self._name, "reason": text})
            self._told = True
        if self.load.models and self._clock() - self.at > FORGOTTEN:
            self._forget()
        return pause

    def _forget(self) -> None:
        touched = set(self.load.models)
        self.load.clear()
        self._reader = Reader()
        self._taken(touched, self.at, False)

    def _count(self, result: str) -> None:
        self._metrics.counter("penstock_scrapes_total", (result,)).value += 1


def _wake(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)
