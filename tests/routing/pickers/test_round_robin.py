"""Each candidate in turn."""

from __future__ import annotations

from routing.pickers.round_robin import Picker
from tests.support.pools import a_call, an_endpoint


def test_each_in_turn() -> None:
    endpoints = [an_endpoint(f"{number}:1") for number in range(3)]
    picker = Picker()
    assert [picker.pick(endpoints, a_call()).address for _ in range(4)] == ["0:1", "1:1", "2:1", "0:1"]


def test_a_shrinking_set_is_no_trouble() -> None:
    endpoints = [an_endpoint(f"{number}:1") for number in range(3)]
    picker = Picker()
    for size in (3, 1, 2, 3):
        assert picker.pick(endpoints[:size], a_call()) in endpoints[:size]
