"""The least loaded of up to four, the better of two random ones beyond; all workers of the node count."""

from __future__ import annotations

from collections import Counter

from config.pools import Pick
from routing.pickers import make
from tests.support.fleet import Node
from tests.support.pools import a_call

PICK = Pick("least_inflight")


def loaded(node: Node, *loads: int) -> None:
    for endpoint, load in zip(node.endpoints, loads, strict=False):
        for _ in range(load):
            endpoint.take(a_call())


def test_the_least_loaded_of_four_is_picked() -> None:
    node = Node(4)
    loaded(node, 3, 1, 2, 5)
    picker = make(PICK, node.tools)
    assert {picker.pick(node.endpoints, a_call()).address for _ in range(20)} == {"1:1"}


def test_ties_spread_evenly() -> None:
    node = Node(3)
    picker = make(PICK, node.tools)
    assert set(Counter(picker.pick(node.endpoints, a_call()).address for _ in range(30)).values()) == {10}


def test_of_many_the_better_of_two_is_picked_and_never_the_worst() -> None:
    node = Node(50)
    loaded(node, *[0] * 7, 100)
    picker = make(PICK, node.tools)
    picked = Counter(picker.pick(node.endpoints, a_call()).address for _ in range(2000))
    assert "7:1" not in picked
    assert len(picked) == 49


def test_what_another_worker_has_in_flight_counts() -> None:
    node = Node(2)
    other = Node(2, node.board, worker=1)
    loaded(other, 3, 0)
    picker = make(PICK, node.tools)
    assert {picker.pick(node.endpoints, a_call()).address for _ in range(10)} == {"1:1"}


def test_a_heavier_endpoint_may_have_more() -> None:
    node = Node(2)
    node.endpoints[0].weight = 3.0
    loaded(node, 2, 1)
    picker = make(PICK, node.tools)
    assert {picker.pick(node.endpoints, a_call()).address for _ in range(10)} == {"0:1"}
