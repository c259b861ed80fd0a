"""A Triton as the simulation has it: one queue, some executions at once, batches of one model."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.simulate.events import Events


@dataclass(frozen=True)
class Job:
    """A request at a server: its model, the seconds it takes alone on a server of speed 1, whose it is and when it came
    to its gateway; `done` is called at its end."""

    model: str
    size: float
    done: Callable[[], None]


@dataclass(frozen=True)
class Batching:
    """Up to `most` waiting requests of one model run together; all but the longest of them cost `share` of their time
    alone."""

    most: int = 1
    share: float = 0.2


class Server:
    """First come, first served, on `parallel` instances; a batch takes what waits, no longer than that.

    `waiting`, `compute`, `executed` and `executions` are what Triton's metrics say of each model: requests that wait
    for an instance, compute time (each request of a batch counts the whole batch's), requests, and batches. `cold` is
    what the first execution takes, 0 for no longer than any.
    """

    def __init__(
        self,
        events: Events,
        speed: float = 1.0,
        parallel: int = 1,
        batching: Batching | None = None,
        cold: float = 0.0,
    ) -> None:
        self._cold = cold
        self.speed = speed
        self.parallel = parallel
        self.running = 0
        self.in_system = 0
        self.work_seconds = 0.0
        self.waiting: Counter[str] = Counter()
        self.busy_seconds = 0.0
        self.compute: dict[str, float] = defaultdict(float)
        self.executed: Counter[str] = Counter()
        self.executions: Counter[str] = Counter()
        self._events = events
        self._batching = batching or Batching()
        self._queue: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """A request arrives."""
        self.in_system += 1
        self.work_seconds += job.size / self.speed
        self._queue.append(job)
        self.waiting[job.model] += 1
        if self.running < self.parallel:
            self._start()

    def _start(self) -> None:
        batch = self._next_batch()
        longest = max(job.size for job in batch)
        seconds = (longest + self._batching.share * (sum(job.size for job in batch) - longest)) / self.speed
        if self._cold:
            seconds, self._cold = self._cold, 0.0
        self.running += 1
        self._events.after(seconds, self._finish, batch, seconds)

    def _next_batch(self) -> list[Job]:
        first = self._queue.popleft()
        batch = [first]
        while len(batch) < self._batching.most and self._queue and self._queue[0].model == first.model:
            batch.append(self._queue.popleft())
        self.waiting[first.model] -= len(batch)
        return batch

    def _finish(self, batch: list[Job], seconds: float) -> None:
        self.running -= 1
        model = batch[0].model
        self.busy_seconds += seconds / self.parallel
        self.compute[model] += seconds * len(batch)
        self.executed[model] += len(batch)
        self.executions[model] += 1
        for job in batch:
            self.in_system -= 1
            self.work_seconds -= job.size / self.speed
        if self._queue:
            self._start()
        for job in batch:
            job.done()
