"""The endpoint that answers first, in seconds; the own share first where there are other gateways."""

from __future__ import annotations

from collections import Counter

import pytest

from config.pools import Pick
from routing.pickers import Picker, make
from routing.pickers.expected_wait import LOOKS
from tests.support.fleet import KEY, Node
from tests.support.pools import a_call

CALL = a_call("m", "1")


def a_picker(node: Node) -> Picker:
    return make(Pick("expected_wait"), node.tools)


def test_seconds_count_and_not_requests() -> None:
    node = Node(2)
    node.serve(0.01)
    node.serve(1.0, model="n")
    node.endpoints[0].take(a_call("n", "1"))
    for _ in range(5):
        node.endpoints[1].take(CALL)
    assert {a_picker(node).pick(node.endpoints, CALL).address for _ in range(10)} == {"1:1"}


def test_an_idle_slow_endpoint_is_left_idle_while_a_fast_one_is_sooner() -> None:
    node = Node(2)
    node.serve(0.02, 0)
    node.serve(0.08, 1)
    picker = a_picker(node)
    picker.pick(node.endpoints, CALL)  # the first look at all is not at the fastest only
    picked = []
    for _ in range(5):
        endpoint = picker.pick(node.endpoints, CALL)
        endpoint.take(CALL)
        picked.append(endpoint.address)
    assert picked[:3] == ["0:1"] * 3
    assert "1:1" in picked


def test_direct_load_is_avoided() -> None:
    node = Node(4)
    node.serve(0.02)
    node.others(2, 0.5)
    assert "2:1" not in {a_picker(node).pick(node.endpoints, CALL).address for _ in range(50)}


def test_a_burst_between_scrapes_does_not_herd() -> None:
    node = Node(4)
    node.serve(0.02)
    for number, seconds in enumerate((0.1, 0.0, 0.1, 0.1)):
        node.others(number, seconds)
    picker = a_picker(node)
    picked: Counter[str] = Counter()
    for _ in range(40):
        endpoint = picker.pick(node.endpoints, CALL)
        endpoint.take(CALL)
        picked[endpoint.address] += 1
    assert max(picked.values()) <= 15
    assert picked["1:1"] == max(picked.values())


def test_of_many_the_one_that_was_idle_for_longest_is_picked() -> None:
    node = Node(50)
    node.serve(0.02)
    for _ in range(100):
        node.endpoints[7].take(CALL)
    picker = a_picker(node)
    picked = [picker.pick(node.endpoints, CALL).address for _ in range(98)]
    assert "7:1" not in picked
    assert picked[:49] == picked[49:]
    assert len(set(picked)) == 49


def test_no_more_are_looked_at_than_a_bound() -> None:
    node = Node(500)
    node.serve(0.02)
    order = [part.endpoint for part in node.aperture.own(node.endpoints, KEY, node.clock.now).parts]
    for endpoint in node.endpoints:
        if endpoint is not order[LOOKS + 1]:
            endpoint.take(CALL)
    picker = a_picker(node)
    picked = picker.pick(node.endpoints, CALL)
    assert picked in order[1 : LOOKS + 1]
    assert picker.pick(node.endpoints, CALL) is order[LOOKS + 1], "it goes on from there"


def test_what_is_fastest_is_found_wherever_the_first_look_falls() -> None:
    for first in range(4):
        node = Node(4)
        node.serve(0.08)
        node.serve(0.02, 2)
        own = node.aperture.own(node.endpoints, KEY, node.clock.now)
        own.turn = first
        picker = a_picker(node)
        for _ in range(4):
            picker.pick(node.endpoints, CALL)
        assert {picker.pick(node.endpoints, CALL).address for _ in range(5)} == {"2:1"}


def held(node: Node, times: int) -> Counter[str]:
    picker = a_picker(node)
    picked: Counter[str] = Counter()
    for _ in range(times):
        endpoint = picker.pick(node.endpoints, CALL)
        endpoint.take(CALL)
        picked[endpoint.address] += 1
    return picked


def test_one_of_several_gateways_stays_in_its_share_until_that_is_busy() -> None:
    node = Node(64)
    node.serve(0.02)
    node.aperture.place(2, [1.0] * 8)
    own = node.aperture.own(node.endpoints, KEY, node.clock.now)
    mine = {part.endpoint.address for part in own.parts}
    assert held(node, 8) == dict.fromkeys(mine, 1)
    assert held(node, 4).keys() <= mine
    everywhere = held(node, 80)
    assert sum(everywhere[address] for address in mine) < 40


@pytest.mark.parametrize("nodes", [7, 12])
def test_part_of_an_endpoint_gets_part_of_the_load(nodes: int) -> None:
    picked: Counter[str] = Counter()
    for place in range(nodes):
        each = Node(64)
        each.serve(0.02)
        each.aperture.place(place, [1.0] * nodes)
        picked += held(each, 640 // nodes)
    assert max(picked.values()) <= 20
