"""Clients that ask whatever happens, and what became of each of their requests, as one of a few classes."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import numpy as np

from tests.support.load import Events, FreshRest, Load, NobodyListens, Request, Rest, SlowRest, SlowUnary, Source, Unary
from tests.support.messages import infer_request

ON_DEMAND = tuple(f"demand{number}" for number in range(6))
SEQUENCES = "sequence_sum_many"
STEPS = 5
NUMBERS = itertools.count(random.randrange(1, 1 << 40))
"""Of sequences: none comes twice, also not in the next run before the same Tritons."""
DEADLINE = 30.0
"""Seconds after which a client gives up. Every route of the gateway has less, so this must not happen."""

OK, IN_BAND, CONNECTION, HANG, WRONG, HIDDEN = "ok", "in band", "connection", "hang", "wrong", "hidden"
UNCOUNTED = frozenset({CONNECTION, HANG})
"""What a gateway need not know of."""
BY_CODE = {
    "OK": OK,
    "UNAVAILABLE": "unavailable",
    "RESOURCE_EXHAUSTED": "unavailable",
    "NOT_FOUND": "not found",
    "DEADLINE_EXCEEDED": "deadline",
    "INVALID_ARGUMENT": "invalid",
    "CANCELLED": "cancelled",
}
"""Any other code is "internal"."""
_BY_STATUS = {429: "unavailable", 502: "unavailable", 503: "unavailable", 404: "not found", 504: "deadline",
              400: "invalid", 408: "deadline", 413: "unavailable"}  # fmt: skip
_NO_ANSWER = re.compile(
    "Socket closed|Connection reset|connection attempts failed|failed to connect|Connection refused|Broken pipe"
    "|GOAWAY|Stream removed|recvmsg|sendmsg|keepalive|RST_STREAM|Transport closed",
    re.IGNORECASE,
)
"""What gRPC's client says where no answer came."""
_OURS = ("endpoint ", "sequence ", "model ")
"""How the gateway begins to tell the same of an endpoint."""


def classify(error: str | None) -> str:
    """The class of an outcome as `tests.support.load` tells it. An answer is classified by its code or status; the rest
    is `CONNECTION`, `HANG`, an answer that is `WRONG`, or one whose status the client's library keeps `HIDDEN`."""
    if error is None:
        return OK
    kind, _, text = error.partition(": ")
    if kind == "TimeoutError":
        return HANG
    if kind == "AssertionError":
        if text.startswith(IN_BAND):
            return IN_BAND
        status = re.match(r"(\d{3}) ", text)
        return WRONG if status is None else _BY_STATUS.get(int(status[1]), "internal")
    if text == "Internal error from Core":  # gRPC's asyncio client, when a stream ends with an error while it writes
        return HIDDEN
    if kind.isupper():
        unsure = kind in ("UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED") and not text.startswith(_OURS)
        no_answer = unsure and _NO_ANSWER.search(text)
        return CONNECTION if no_answer else BY_CODE.get(kind, "internal")
    return CONNECTION


class Lasting(Source):
    """Goes on when nobody listens: workers come back."""

    async def run(self) -> None:
        """Ask until told to stop."""
        load = self.load
        try:
            while not load.stopping:
                began = self.loop.time()
                try:
                    await self._counted()
                except NobodyListens:
                    load.requests.append(Request(self.name, began, 0, self.loop.time(), "NobodyListens: refused"))
                await asyncio.sleep(load.think * random.uniform(0.5, 1.5))
        finally:
            await self.close()


class SteadyRest(Lasting, Rest):
    """Kept connections."""


class NewRest(Lasting, FreshRest):
    """A connection each time."""


class LongRest(Lasting, SlowRest):
    """50 ms at the model."""


class SteadyUnary(Lasting, Unary):
    """A kept channel, of which it matters not why it cannot connect."""

    async def ask(self) -> None:
        """One inference."""
        await self._infer()


class LongUnary(SteadyUnary, SlowUnary):
    """50 ms at the model."""


class Generated(Lasting, Events):
    """Five events, one of which may be an error."""

    async def ask(self) -> None:
        """All events of a stream."""
        status, body = await self.exchange()
        assert status == 200, f"{status} {body[:300]!r}"
        assert b'{"error"' not in body, f"{IN_BAND} {body[-300:]!r}"
        assert body.count(b"data: ") == 5, f"wrong events {body!r}"


class Streamed(SteadyUnary):
    """Bidirectional streams of five requests, each of which is answered twice, or with an error."""

    name = "streams"

    async def _infer(self) -> None:
        async def requests() -> AsyncIterator[Any]:
            one = np.array([1, 1], np.uint32)
            for number in range(5):
                values = {"IN": one.astype(np.int32) * number, "DELAY": one, "WAIT": one[:1]}
                yield infer_request("repeat_int32", str(number), **values)
                await asyncio.sleep(0.01)

        answers = [reply async for reply in self.stub.ModelStreamInfer(requests(), timeout=DEADLINE)]
        errors = [reply.error_message for reply in answers if reply.error_message]
        assert not errors, f"{IN_BAND} {errors[0]}"
        assert len(answers) == 10, f"wrong: {len(answers)} answers in place of 10"


class Demanding(Lasting, Rest):
    """Models that are loaded when they are asked for, some far more often than others."""

    name = "on demand"

    async def ask(self) -> None:
        """One inference."""
        weights = [1 / (rank + 1) ** 2 for rank in range(len(ON_DEMAND))]
        self.path = f"/v2/models/{random.choices(ON_DEMAND, weights)[0]}/infer"
        await super().ask()


class Sequences(SteadyUnary):
    """Sums over five requests, the next sequence when one is done or lost."""

    name = "sequences"

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self._sequence = self._step = 0

    async def _infer(self) -> None:
        if self._step == 0:
            self._sequence = next(NUMBERS)
        step, self._step = self._step, 0  # the sequence is over unless this goes well
        request = infer_request(SEQUENCES, INPUT=np.array([[step + 1]], np.int32))
        request.parameters["sequence_id"].int64_param = self._sequence
        request.parameters["sequence_start"].bool_param = step == 0
        request.parameters["sequence_end"].bool_param = step == STEPS - 1
        reply = await self.stub.ModelInfer(request, timeout=DEADLINE)
        total = int(np.frombuffer(reply.raw_output_contents[0], np.int32)[0])
        assert total == (step + 1) * (step + 2) // 2, f"wrong sum {total} at step {step}"
        self._step = (step + 1) % STEPS


class RestSequences(Lasting, Rest):
    """The same over HTTP, a connection for each request, so that workers take turns."""

    name = "rest sequences"
    path = f"/v2/models/{SEQUENCES}/infer"
    fresh = True

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self._sequence = self._step = 0

    async def ask(self) -> None:
        """One request of a sequence."""
        if self._step == 0:
            self._sequence = next(NUMBERS)
        step, self._step = self._step, 0
        tensor = {"name": "INPUT", "shape": [1, 1], "datatype": "INT32", "data": [step + 1]}
        flags = {"sequence_id": self._sequence, "sequence_start": step == 0, "sequence_end": step == STEPS - 1}
        self.payload = json.dumps({"inputs": [tensor], "parameters": flags}).encode()
        status, body = await self.exchange()
        assert status == 200, f"{status} {body[:300]!r}"
        total = json.loads(body)["outputs"][0]["data"][0]
        assert total == (step + 1) * (step + 2) // 2, f"wrong sum {total} at step {step}"
        self._step = (step + 1) % STEPS


CLIENTS: tuple[Callable[[Load], Source], ...] = (
    *[SteadyRest] * 3, *[NewRest] * 2, *[SteadyUnary] * 3, *[LongRest] * 3, *[LongUnary] * 3, *[Generated] * 2,
    *[Streamed] * 2, *[Demanding] * 3, *[Sequences] * 2, *[RestSequences] * 2,
)  # fmt: skip


def kinds_of_text(requests: Iterable[Request]) -> Counter[tuple[str, str]]:
    """How often which (class, text) was told, numbers and what follows a long beginning left out."""
    told = [(classify(each.error), each.error) for each in requests if each.error is not None]
    return Counter((kind, re.sub(r"\d+", "N", text[:250])[:200]) for kind, text in told)


def classes(requests: Iterable[Request]) -> Counter[tuple[str, str]]:
    """How many requests of each (source, class)."""
    return Counter((request.source, classify(request.error)) for request in requests)
