"""Shares cover the ring evenly, are never too small, and move little when members or endpoints come and go."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.aperture import MINIMUM, REMEMBERED, SLIVER, Aperture, share, stepped
from tests.support.fleet import Node
from tests.support.pools import an_endpoint

KEY = ("m", "1")


def parts_of(loads: list[float], lengths: list[float], minimum: float = 1.0) -> list[dict[int, float]]:
    return [dict(share(node, loads, lengths, minimum)) for node in range(len(loads))]


def test_alone_everything_is_ones_own() -> None:
    assert share(0, [3.0], [1.0] * 5) == tuple((position, 1.0) for position in range(5))


def test_whole_shares_do_not_overlap() -> None:
    parts = parts_of([1.0] * 8, [1.0] * 64)
    assert [len(part) for part in parts] == [8] * 8
    assert sorted(position for part in parts for position in part) == list(range(64))


def test_fractions_add_up_where_shares_meet() -> None:
    parts = parts_of([1.0] * 3, [1.0] * 10)
    assert parts[0] == pytest.approx({0: 1, 1: 1, 2: 1, 3: 1 / 3})
    assert parts[1] == pytest.approx({3: 2 / 3, 4: 1, 5: 1, 6: 2 / 3})
    assert parts[2] == pytest.approx({6: 1 / 3, 7: 1, 8: 1, 9: 1})


@given(st.integers(1, 200), st.integers(1, 50))
def test_every_endpoint_is_covered_once(size: int, nodes: int) -> None:
    parts = parts_of([1.0] * nodes, [1.0] * size, minimum=0.0)
    for position in range(size):
        covered = sum(part.get(position, 0.0) for part in parts)
        assert 1.0 - SLIVER * (1 + nodes / size) * 2 <= covered <= 1.0 + 1e-9


@given(st.integers(1, 200), st.integers(1, 50), st.floats(1.0, 20.0))
def test_no_share_is_too_small_and_all_are_the_same(size: int, nodes: int, minimum: float) -> None:
    widths = [sum(part.values()) for part in parts_of([1.0] * nodes, [1.0] * size, minimum)]
    wanted = min(size, max(minimum, size / nodes))
    assert all(wanted - 2 * SLIVER - 1e-6 <= width <= wanted + 1e-6 for width in widths)


@given(st.integers(16, 200), st.integers(2, 12))
def test_one_more_member_moves_a_share_by_no_more_than_its_width(size: int, nodes: int) -> None:
    for node in range(nodes):
        before = {part.position for part in share(node, [1.0] * nodes, [1.0] * size, 1.0)}
        after = {part.position for part in share(node, [1.0] * (nodes + 1), [1.0] * size, 1.0)}
        assert min(after) >= min(before) - size / nodes - 1
        if node == 0:
            assert after <= before


def test_an_arc_is_as_long_as_its_nodes_load() -> None:
    parts = parts_of([3.0, 1.0], [1.0] * 8)
    assert parts[0] == pytest.approx(dict.fromkeys(range(6), 1))
    assert parts[1] == pytest.approx({6: 1, 7: 1})


def test_what_is_slower_is_shorter() -> None:
    parts = parts_of([1.0, 1.0], [1.0, 1.0, 0.25, 0.25, 0.25, 0.25, 1.0])
    assert parts[0] == pytest.approx({0: 1, 1: 1})
    assert parts[1].keys() == {2, 3, 4, 5, 6}


def test_an_arc_below_the_least_goes_on_at_the_beginning_of_the_ring() -> None:
    assert dict(share(3, [1.0] * 4, [1.0] * 8, 4.0)) == pytest.approx({6: 1, 7: 1, 0: 1, 1: 1})


@given(st.floats(1e-4, 1e4))
def test_nearly_the_same_is_the_same_but_at_the_edges_of_steps(value: float) -> None:
    assert stepped(stepped(value)) == stepped(value)
    assert 0.9 < stepped(value) / value < 1.1


def test_own_parts_are_remembered_and_found_anew_after_a_change() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    aperture = Aperture()
    assert aperture.own(endpoints, KEY, 0.0).whole
    aperture.place(3, [1.0] * 8)
    own = aperture.own(endpoints, KEY, 0.0)
    assert not own.whole
    assert len(own.parts) == 8
    aperture.place(3, [1.01] * 7 + [1.02])
    assert aperture.own(endpoints, KEY, 0.1) is own
    aperture.place(3, [1.0] * 4)
    assert len(aperture.own(endpoints, KEY, 0.2).parts) == 16
    aperture.place(0, [1.0])
    assert len(aperture.own(endpoints, KEY, 0.3).parts) == 64


def test_processes_look_through_their_shares_in_orders_of_their_own() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    first, second = (Aperture(random.Random(seed)).own(endpoints, KEY, 0.0).parts for seed in (1, 2))
    assert first != second
    assert set(first) == set(second)


def test_without_known_loads_all_shares_are_alike() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    aperture = Aperture()
    aperture.place(3, [0.0] * 8)
    assert len(aperture.own(endpoints, KEY, 0.0).parts) == 8


def test_who_does_nothing_keeps_a_share() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    aperture = Aperture()
    aperture.place(0, [0.0, 10.0])
    assert len(aperture.own(endpoints, KEY, 0.0).parts) >= MINIMUM


def test_a_slower_endpoint_makes_the_share_wider_after_a_while() -> None:
    node = Node(64)
    node.serve(0.02)
    node.aperture.place(0, [1.0] * 8)
    now = node.clock.now
    before = [part.endpoint for part in node.aperture.own(node.endpoints, KEY, now).parts]
    for endpoint in before:
        node.serve(0.08, endpoint.slot)
    assert [part.endpoint for part in node.aperture.own(node.endpoints, KEY, now + 1.0).parts] == before
    wider = [part.endpoint for part in node.aperture.own(node.endpoints, KEY, now + 5.0).parts]
    assert set(wider) > set(before)
    assert len(wider) >= 12


def test_members_agree_on_the_ring_whatever_the_order_of_their_candidates() -> None:
    endpoints = tuple(an_endpoint(f"gpu-{number}:8001") for number in range(64))
    taken: list[str] = []
    for node in range(8):
        aperture = Aperture()
        aperture.place(node, [1.0] * 8)
        own = aperture.own(endpoints if node % 2 else endpoints[::-1], KEY, 0.0)
        taken += [part.endpoint.address for part in own.parts]
    assert len(set(taken)) == 64


def test_few_endpoints_are_everybodys() -> None:
    aperture = Aperture()
    aperture.place(1, [1.0] * 3)
    assert aperture.own(tuple(an_endpoint(f"{number}:1") for number in range(int(MINIMUM))), KEY, 0.0).whole


def test_what_is_remembered_is_bounded() -> None:
    aperture = Aperture()
    aperture.place(0, [1.0, 1.0])
    endpoint = an_endpoint("a:1")
    kept = [(endpoint, endpoint) for _ in range(REMEMBERED + 10)]
    for candidates in kept:
        aperture.own(candidates, KEY, 0.0)
    assert len(aperture._shares) <= REMEMBERED
