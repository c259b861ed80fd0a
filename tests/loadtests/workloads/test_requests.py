"""A row of requests from start to end, with a scripted server in the place of the peers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from loadtests.exchange import Address
from loadtests.payloads import small
from loadtests.peers import PEERS, Backend, Peer
from loadtests.workloads.base import Context, Effort
from loadtests.workloads.requests import RequestRow
from tests.support.scripted_server import ScriptedServer, http_reply, scripted_server

ANSWER = {
    "outputs": [
        {"name": "OUTPUT0", "shape": [1, 16], "datatype": "INT32", "data": list(range(4, 20))},
        {"name": "OUTPUT1", "shape": [1, 16], "datatype": "INT32", "data": list(range(-2, 14))},
    ]
}
ROW = RequestRow("small_json", "Small", small, {"good": "oip_json", "bad": "oip_json"}, 40, rate=200.0, connections=2)


class Good(Peer):
    name, label, dialects = "good", "Good", ("oip_json",)
    server: ScriptedServer
    busy: subprocess.Popen[bytes]

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.busy.pid,)

    def start(self) -> None:
        self.address = Address("127.0.0.1", self.server.port)

    def stop(self) -> None:
        self.address = Address("127.0.0.1", 9)


class Bad(Good):
    name, label = "bad", "Bad"
    server: ScriptedServer


@contextmanager
def a_busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """One that uses some CPU, and has no children that end while it is measured, as those of tests do."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time\nwhile True: time.sleep(0.0001)"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    right, wrong = http_reply(orjson.dumps(ANSWER)), http_reply(b'{"outputs":[]}')
    with scripted_server(right) as Good.server, scripted_server(wrong) as Bad.server, a_busy_process() as Good.busy:
        monkeypatch.setitem(PEERS, "good", Good)
        monkeypatch.setitem(PEERS, "bad", Bad)
        backend = Backend(Address("127.0.0.1", 1), Address("127.0.0.1", 1), "0", Good.busy.pid)
        yield Context(backend, tmp_path, Effort("test", 2, 1.0, 0.1, 1), "own", lambda line: None)


def test_figures_of_each_round_and_a_peer_that_answers_wrongly(context: Context) -> None:
    result = ROW.run(context)
    assert set(result.samples) == {"good"}
    assert result.failed["bad"].startswith("WrongAnswerError: output OUTPUT0 is missing")
    samples = result.samples["good"]
    assert set(samples) == set(result.metrics)
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in samples.values())
    checked, warm, rounds = 1, 10, 2 * (40 + 2 + 20)
    assert Good.server.requests == checked + warm + rounds


def test_errors_under_load_fail_the_peer(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    row = RequestRow("r", "R", small, {"good": "oip_json"}, 40, rate=200.0, connections=2)

    def break_down(line: str) -> None:
        Good.server.reply = http_reply(b"{}", "503 Service Unavailable")

    result = row.run(Context(context.backend, context.scratch, context.effort, "own", break_down))
    assert "503" in result.failed["good"]
    assert result.samples == {}
