"""Answers go to the batches that asked, in order, however they are cut."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from state import StateError
from state.batch import Batch
from state.connection import Connection
from state.pipe import Pipe


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def a_pipe() -> tuple[Pipe, Connection, Wire, list[tuple[int, list[Any]]]]:
    connection, wire = Connection(), Wire()
    connection.connection_made(wire)
    taken: list[tuple[int, list[Any]]] = []

    def take(batch: Batch, answers: Sequence[Any]) -> None:
        batch.at += len(answers)
        taken.append((len(batch.futures), list(answers)))

    return Pipe(connection, take), connection, wire, taken


def a_batch(*commands: str) -> Batch:
    loop = asyncio.get_running_loop()
    return Batch([(command,) for command in commands], [loop.create_future() for _ in commands], 0.0, 1.0)


def test_answers_are_told_apart_by_their_order() -> None:
    async def run() -> None:
        pipe, connection, wire, taken = a_pipe()
        pipe.send(a_batch("A", "B"))
        pipe.send(a_batch("C"))
        assert wire.written == b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n*1\r\n$1\r\nC\r\n"
        connection.data_received(b":1\r\n:")
        connection.data_received(b"2\r\n:3\r\n")
        assert taken == [(2, [1]), (2, [2]), (1, [3])]

    asyncio.run(run())


def test_an_answer_to_nothing_is_garbage() -> None:
    async def run() -> None:
        pipe, connection, wire, _ = a_pipe()
        connection.data_received(b":1\r\n")
        assert wire.aborted
        connection.connection_lost(None)
        assert pipe.why is not None
        assert pipe.why.reason == "garbage"

    asyncio.run(run())


def test_the_end_fails_what_waits() -> None:
    async def run() -> None:
        pipe, connection, _, _ = a_pipe()
        lost: list[StateError] = []
        pipe.lost = lost.append
        batch = a_batch("A", "B")
        pipe.send(batch)
        connection.data_received(b":1\r\n")
        connection.connection_lost(ConnectionResetError("reset"))
        assert not pipe.open
        assert [str(error) for error in lost] == ["the connection to the store ended: reset"]
        assert not batch.futures[0].done()
        assert isinstance(batch.futures[1].exception(), StateError)

    asyncio.run(run())


def test_a_store_that_does_not_read_is_behind() -> None:
    pipe, connection, _, _ = a_pipe()
    connection.pause_writing()
    assert pipe.behind
    connection.resume_writing()
    assert not pipe.behind
