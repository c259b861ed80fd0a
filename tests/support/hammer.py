"""Threads that ask a gateway for models over kept REST connections, and count what comes back."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

BODY = json.dumps(
    {
        "inputs": [
            {"name": f"INPUT{i}", "shape": [1, 16], "datatype": "INT32", "data": list(range(i, i + 16))} for i in (0, 1)
        ]
    }
)
SUM = [2 * each + 1 for each in range(16)]


class Hammer:
    """`threads` clients, each asking for `choose()` again and again while the context is open. `outcomes` counts the
    answers, "ok" or what went wrong; `seconds` has how long those that were ok took."""

    def __init__(self, address: str, choose: Callable[[], str], threads: int = 4, timeout: float = 60.0) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._address = address
        self._choose = choose
        self._timeout = timeout
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    @property
    def failures(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout)

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout)
        while not self._stop.is_set():
            began = time.monotonic()
            outcome = ask(connection, self._choose())
            self.outcomes[outcome] += 1
            if outcome == "ok":
                self.seconds.append(time.monotonic() - began)
        connection.close()


def ask(connection: http.client.HTTPConnection, model: str) -> str:
    """One request of a copy of `simple`: "ok", or what went wrong."""
    try:
        connection.request("POST", f"/v2/models/{model}/infer", BODY, {"content-type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    if reply.status != 200:
        return f"{reply.status} {text.decode(errors='replace')}"
    outputs = {each["name"]: each["data"] for each in json.loads(text)["outputs"]}
    return "ok" if outputs["OUTPUT0"] == SUM else f"wrong sum {outputs}"
