"""Answers come out whole however they arrive; what is no answer is garbage and nothing else."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.resp import DEEPEST, LARGEST, LONGEST_LINE, Garbage, Reader, Refusal, encode


def test_a_command_is_an_array_of_strings() -> None:
    assert encode([("SET", b"k", 1, 2.5)]) == b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n$3\r\n2.5\r\n"
    assert encode([("PING",), ("GET", "ü")]) == b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n"


def written(value: Any) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"*%d\r\n%b" % (len(value), b"".join(map(written, value)))


answers = st.recursive(st.none() | st.binary(max_size=40) | st.integers(), lambda x: st.lists(x, max_size=4))


@given(st.lists(answers, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_answers_come_out_however_they_are_cut(values: list[Any], cuts: list[int]) -> None:
    data = b"".join(map(written, values))
    reader, seen = Reader(), []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        seen += reader.feed(data[start:stop])
    assert seen == values


def test_status_error_and_nothing() -> None:
    status, error, nothing = Reader().feed(b"+OK\r\n-OOM command not allowed\r\n*-1\r\n")
    assert status == b"OK"
    assert isinstance(error, Refusal)
    assert (error.code, error.reason, str(error)) == ("OOM", "full", "OOM command not allowed")
    assert nothing is None


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x00",
        b"$x\r\n",
        b":one\r\n",
        b"$3\r\nabcd\r\n",
        b"$%d\r\n" % (LARGEST + 1),
        b"*-5\r\n",
        b"*1\r\n" * (DEEPEST + 1),
        b"+" + b"x" * (LONGEST_LINE + 1),
    ],
)
def test_garbage_is_told_from_answers(data: bytes) -> None:
    with pytest.raises(Garbage):
        Reader().feed(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_answers_or_garbage(data: bytes) -> None:
    with contextlib.suppress(Garbage):
        Reader().feed(data)


def test_a_large_string_is_looked_at_once_it_is_whole() -> None:
    reader = Reader()
    assert reader.feed(b"$1000000\r\n") == []
    for _ in range(9):
        assert reader.feed(b"x" * 100_000) == []
    assert reader.feed(b"x" * 100_000 + b"\r\n:1\r\n") == [b"x" * 1_000_000, 1]
