"""Bodies while they arrive: nothing is lost, and memory stays in proportion to what came."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingress.exchange import PINNED_FACTOR, PINNED_SLACK, REASONS, SMALL_PIECE, Body
from transcoding.status import HTTP_STATUS

READ = 256 * 1024


class Read(bytearray):
    """What a socket read gave; unlike bytes it can be watched."""


# Sizes on both sides of what is gathered, and whether the piece is a view into something larger.
pieces = st.lists(
    st.tuples(st.sampled_from([1, 2, 100, SMALL_PIECE - 1, SMALL_PIECE, 5000, 70_000]), st.booleans()), max_size=30
)


@given(pieces)
def test_what_is_taken_is_what_was_added(sizes: list[tuple[int, bool]]) -> None:
    body, whole = Body(), b""
    for number, (size, viewed) in enumerate(sizes):
        piece = bytes((number,)) * size
        body.add(memoryview(b"before" + piece + bytes(READ))[6 : 6 + size] if viewed else piece)
        whole += piece
        assert body.size == len(whole)
    taken = body.take()
    assert (type(taken), taken) == (bytes, whole)
    assert (body.size, body.take()) == (0, b"")


def test_a_body_can_be_filled_again() -> None:
    body = Body()
    body.add(b"first")
    body.take()
    body.add(b"second")
    assert body.take() == b"second"


def test_a_body_of_one_piece_is_not_copied() -> None:
    body, piece = Body(), bytes(5000)
    body.add(piece)
    assert body.take() is piece


def test_what_was_taken_is_not_changed_by_what_comes_later() -> None:
    body = Body()
    for _ in range(3):
        body.add(b"a")
    first = body.take()
    body.add(b"b")
    assert first == b"aaa"


def test_tiny_pieces_are_gathered() -> None:
    body = Body()
    for _ in range(10_000):
        body.add(b"x")
    assert len(body._pieces) <= 2


@pytest.mark.parametrize("size", [1, SMALL_PIECE, 3000, READ // 2])
def test_views_pin_no_more_than_a_few_times_what_they_hold(size: int) -> None:
    body, reads = Body(), []
    for _ in range(200):
        read = Read(READ)
        body.add(memoryview(read)[:size])
        reads.append(weakref.ref(read))
        del read
        gc.collect(0)
        pinned = sum(READ for each in reads if each() is not None)
        assert pinned <= PINNED_FACTOR * body.size + PINNED_SLACK + READ


def test_views_of_one_read_are_counted_once_and_not_copied() -> None:
    body, read = Body(), Read(READ)
    body.add(memoryview(read)[: READ // 2])
    for at in range(READ // 2, READ, 4096):
        body.add(memoryview(read)[at : at + 4096])
    assert {type(each) for each in body._pieces} == {memoryview}


def test_each_status_that_an_error_may_have_has_a_reason() -> None:
    assert set(HTTP_STATUS.values()) <= set(REASONS)
