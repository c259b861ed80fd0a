"""Shares cover the ring evenly, are never too small, and move little when members or endpoints come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.aperture import MINIMUM, SLIVER, Aperture, share
from tests.support.pools import an_endpoint


def parts_of(nodes: int, size: int, minimum: float = 1.0) -> list[dict[int, float]]:
    return [dict(share(node, nodes, size, minimum)) for node in range(nodes)]


def test_alone_everything_is_ones_own() -> None:
    assert share(0, 1, 5) == tuple((position, 1.0) for position in range(5))


def test_whole_shares_do_not_overlap() -> None:
    parts = parts_of(8, 64)
    assert [len(part) for part in parts] == [8] * 8
    assert sorted(position for part in parts for position in part) == list(range(64))


def test_fractions_add_up_where_shares_meet() -> None:
    parts = parts_of(3, 10)
    assert parts[0] == pytest.approx({0: 1, 1: 1, 2: 1, 3: 1 / 3})
    assert parts[1] == pytest.approx({3: 2 / 3, 4: 1, 5: 1, 6: 2 / 3})
    assert parts[2] == pytest.approx({6: 1 / 3, 7: 1, 8: 1, 9: 1})


@given(st.integers(1, 200), st.integers(1, 50))
def test_every_endpoint_is_covered_once(size: int, nodes: int) -> None:
    parts = parts_of(nodes, size, minimum=0.0)
    for position in range(size):
        covered = sum(part.get(position, 0.0) for part in parts)
        assert 1.0 - SLIVER * (1 + nodes / size) * 2 <= covered <= 1.0 + 1e-9


@given(st.integers(1, 200), st.integers(1, 50), st.floats(1.0, 20.0))
def test_no_share_is_too_small_and_all_are_the_same(size: int, nodes: int, minimum: float) -> None:
    widths = [sum(part.values()) for part in parts_of(nodes, size, minimum)]
    wanted = min(size, max(minimum, size / nodes))
    assert all(wanted - 2 * SLIVER - 1e-6 <= width <= wanted + 1e-6 for width in widths)


@given(st.integers(16, 200), st.integers(2, 12))
def test_one_more_member_moves_a_share_by_no_more_than_its_width(size: int, nodes: int) -> None:
    for node in range(nodes):
        before = {part.position for part in share(node, nodes, size, 1.0)}
        after = {part.position for part in share(node, nodes + 1, size, 1.0)}
        assert min(after) >= min(before) - size / nodes - 1
        if node == 0:
            assert after <= before


def test_own_parts_are_remembered_and_found_anew_after_a_change() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    aperture = Aperture()
    assert aperture.own(endpoints) is None
    aperture.place(3, 8)
    own = aperture.own(endpoints)
    assert own is not None
    assert len(own) == 8
    assert aperture.own(endpoints) is own
    aperture.place(3, 4)
    wider = aperture.own(endpoints)
    assert wider is not None
    assert len(wider) == 16
    aperture.place(0, 1)
    assert aperture.own(endpoints) is None


def test_members_agree_on_the_ring_whatever_the_order_of_their_candidates() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    taken: list[str] = []
    for node in range(8):
        aperture = Aperture()
        aperture.place(node, 8)
        own = aperture.own(endpoints if node % 2 else endpoints[::-1])
        assert own is not None
        taken += [part.endpoint.address for part in own]
    assert len(set(taken)) == 64


def test_few_endpoints_are_everybodys() -> None:
    aperture = Aperture()
    aperture.place(1, 3)
    assert aperture.own(tuple(an_endpoint(f"{number}:1") for number in range(int(MINIMUM)))) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.aperture.REMEMBERED", 3)
    aperture = Aperture()
    aperture.place(0, 2)
    kept = [tuple(an_endpoint(f"{number}:1") for number in range(20)) for _ in range(10)]
    for candidates in kept:
        aperture.own(candidates)
    assert len(aperture._shares) <= 3
