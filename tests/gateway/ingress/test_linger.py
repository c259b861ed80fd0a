"""The ends of connections whose clients may still be sending, and clients that do not read."""

from __future__ import annotations

import pytest

from config.schema import Deadlines, Limits
from gateway.ingress.edge import Edge
from gateway.ingress.linger import LONGEST_SECONDS, MOST_BYTES, QUIET_SECONDS, STALL_BYTES, Linger, Stall
from tests.support.ingress import ADDRESS, Ingress, MemoryTransport, an_ingress

WRITE_STALL = 3.0


def lingering(ingress: Ingress, unsent: int = 0) -> MemoryTransport:
    """A connection whose last answer is written."""
    transport = ingress.accept()
    transport.reading = False
    transport.unsent = unsent
    Linger(ingress.listener, transport.protocol, transport, ADDRESS)  # type: ignore[arg-type]
    return transport


class TestEnd:
    def test_says_that_nothing_follows_and_reads_on(self) -> None:
        with an_ingress() as ingress:
            transport = lingering(ingress)
            assert (transport.ended, transport.reading, transport.open) == (True, True, True)
            assert isinstance(transport.protocol, Linger)

    def test_is_not_said_where_there_are_no_halves(self) -> None:
        with an_ingress() as ingress:
            transport = ingress.accept()
            transport.can_write_eof = lambda: False  # type: ignore[method-assign]
            Linger(ingress.listener, transport.protocol, transport, ADDRESS)  # type: ignore[arg-type]
            assert not transport.ended

    def test_takes_the_place_of_the_old_one_and_gives_it_back(self) -> None:
        with an_ingress(Limits(connections_per_address=2)) as ingress:
            transport = lingering(ingress)
            assert ingress.listener.connections == {transport.protocol}
            assert ingress.listener.addresses[ADDRESS] == 1
            transport.end()
            ingress.settle()
            assert transport.lost
            assert ingress.listener.connections == set()
            assert ingress.listener.addresses == {}

    def test_draining_does_not_hasten_it_and_abort_ends_it(self) -> None:
        with an_ingress() as ingress:
            transport = lingering(ingress)
            ingress.listener.start_draining()
            assert transport.open
            transport.protocol.abort()
            assert transport.aborted


class TestQuiet:
    def test_closes_when_nothing_comes_any_more(self) -> None:
        with an_ingress() as ingress:
            transport = lingering(ingress)
            ingress.wait(QUIET_SECONDS * 0.9)
            assert transport.open
            ingress.wait(QUIET_SECONDS * 0.2)
            assert (transport.lost, transport.aborted) == (True, False)

    def test_what_comes_is_counted_and_dropped_and_buys_time_but_not_for_ever(self) -> None:
        with an_ingress() as ingress:
            transport = lingering(ingress)
            seconds = 0.0
            while transport.open:
                transport.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                ingress.wait(QUIET_SECONDS * 0.9)
                seconds += QUIET_SECONDS * 0.9
                assert seconds < 2 * LONGEST_SECONDS
            assert LONGEST_SECONDS <= seconds < LONGEST_SECONDS + QUIET_SECONDS
            assert ingress.service.targets == []
            assert ingress.listener.received.value > 0

    def test_a_client_that_sends_too_much_is_cut_off(self) -> None:
        piece = bytes(16 * 1024 * 1024)
        with an_ingress() as ingress:
            transport = lingering(ingress)
            for _ in range(MOST_BYTES // len(piece)):
                transport.protocol.data_received(piece)
            assert transport.open
            transport.protocol.data_received(b"x")
            assert transport.aborted

    def test_a_close_that_does_not_happen_is_forced(self) -> None:
        with an_ingress() as ingress:
            transport = lingering(ingress)
            transport.close = lambda: setattr(transport, "open", False)  # type: ignore[method-assign]
            ingress.wait(QUIET_SECONDS)
            assert (transport.open, transport.aborted) == (False, False)
            ingress.wait(QUIET_SECONDS)
            assert transport.aborted


class TestUnsent:
    """While the last answer is not taken, the connection is open as long as the client takes some of it."""

    def test_progress_keeps_it(self) -> None:
        with an_ingress(deadlines=Deadlines(write_stall=WRITE_STALL)) as ingress:
            transport = lingering(ingress, unsent=10 * STALL_BYTES)
            for _ in range(5):
                transport.unsent -= STALL_BYTES
                ingress.wait(WRITE_STALL)
                assert transport.open
            transport.unsent = 0
            ingress.wait(QUIET_SECONDS)
            assert (transport.lost, transport.aborted) == (True, False)

    def test_a_pause_within_the_deadline_keeps_it_even_if_the_client_sends_on(self) -> None:
        with an_ingress(deadlines=Deadlines(write_stall=WRITE_STALL)) as ingress:
            transport = lingering(ingress, unsent=1000)
            for _ in range(2):
                transport.send(b"more")
                ingress.wait(WRITE_STALL / 3)
                assert transport.open
            transport.unsent = 0
            ingress.wait(WRITE_STALL / 3)
            assert (transport.lost, transport.aborted) == (True, False)

    def test_no_progress_ends_it(self) -> None:
        with an_ingress(deadlines=Deadlines(write_stall=WRITE_STALL)) as ingress:
            transport = lingering(ingress, unsent=10 * STALL_BYTES)
            ingress.wait(WRITE_STALL * 0.9)
            assert transport.open
            transport.unsent -= STALL_BYTES - 1
            ingress.wait(QUIET_SECONDS)
            assert transport.aborted


@pytest.mark.parametrize(
    ("unsent", "stalled"),
    [
        ([100_000, 100_000], [True]),
        ([100_000, 100_000 - STALL_BYTES + 1], [True]),
        ([100_000, 100_000 - STALL_BYTES], [False]),
        ([100_000, 50_000, 50_000, 20_000], [False, True, False]),
        ([100_000, 120_000], [True]),
        ([100, 0], [False]),
        ([0, 0], [False]),
        ([0, 1], [True]),
    ],
)
def test_who_took_neither_all_nor_enough_has_stalled(unsent: list[int], stalled: list[bool]) -> None:
    with an_ingress() as ingress:
        transport = ingress.transport()
        transport.protocol = Edge(ingress.listener)
        transport.unsent = unsent[0]
        stall = Stall(transport)  # type: ignore[arg-type]
        found = []
        for size in unsent[1:]:
            transport.unsent = size
            found.append(stall.stalled())
        assert found == stalled
