"""What a worker knows of keys."""

from __future__ import annotations

from gateway.key_ring import Ring
from gateway.world import KeySet
from state.keys import KeyRecord

ONE, TWO = (KeyRecord(id, bytes(32), "alice") for id in ("abcdefghijkl", "mnopqrstuvwx"))


def test_nothing_is_known_at_first() -> None:
    ring = Ring()
    assert not ring.known
    assert ring.find(ONE.id) is None


def test_all_take_the_place_of_what_was_known() -> None:
    ring = Ring()
    ring.take(KeySet(True, True, (ONE,)))
    ring.take(KeySet(True, True, (TWO,)))
    assert ring.known
    assert ring.records == {TWO.id: TWO}


def test_changes_are_taken_over() -> None:
    ring = Ring()
    ring.take(KeySet(True, True, (ONE,)))
    ring.take(KeySet(False, True, (TWO,), (ONE.id, "neverwasthere")))
    assert ring.records == {TWO.id: TWO}


def test_a_control_that_knows_less_makes_nobody_forget() -> None:
    ring = Ring()
    ring.take(KeySet(True, True, (ONE,)))
    ring.take(KeySet(True, False, (TWO,)))
    assert ring.known
    assert ring.records == {ONE.id: ONE, TWO.id: TWO}
    only_a_file = Ring()
    only_a_file.take(KeySet(True, False, (TWO,)))
    assert not only_a_file.known
