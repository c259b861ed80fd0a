"""A key keeps its endpoint, in every process, until that is too busy or gone; nobody gets far more than the mean."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from math import ceil
from pathlib import Path

import pytest

from config.pools import Pick
from routing.call import Call
from routing.endpoint import Endpoint
from routing.fleet import Lease
from routing.pickers import make
from routing.pickers.hash_ring import Ring, points_of
from tests.support.fleet import Node
from tests.support.pools import a_call


def keyed(key: bytes) -> Call:
    call = a_call()
    call.hash_key = key
    return call


KEYS = [b"user-%d" % number for number in range(2000)]
HEADER = Pick("hash_ring", by="header:x-user", bound=1.25)


def homes(node: Node, candidates: tuple[Endpoint, ...]) -> dict[bytes, str]:
    picker = make(HEADER, node.tools)
    return {key: picker.pick(candidates, keyed(key)).address for key in KEYS}


def test_a_key_keeps_its_endpoint_and_keys_spread() -> None:
    node = Node(10)
    first = homes(node, node.endpoints)
    assert homes(Node(10), node.endpoints) == first
    shares = Counter(first.values())
    assert len(shares) == 10
    assert max(shares.values()) < 1.35 * 200


def test_an_endpoint_that_leaves_moves_only_its_own_keys() -> None:
    node = Node(10)
    before, after = homes(node, node.endpoints), homes(node, node.endpoints[:9])
    assert all(after[key] == home for key, home in before.items() if home != "9:1")


def test_every_process_finds_the_same_points() -> None:
    code = "from routing.pickers.hash_ring import points_of; print(points_of('a:1', 3))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=60
    )
    assert result.stdout.strip() == str(points_of("a:1", 3))


@pytest.mark.parametrize("count", [3, 16, 40])
def test_nobody_gets_more_than_the_bound(count: int) -> None:
    node = Node(count)
    picker = make(HEADER, node.tools)
    rng = random.Random(4)
    held: list[Lease] = []
    for turn in range(2000):
        if len(held) > 10 * count:
            held.pop(rng.randrange(len(held))).release()
        node.clock.now += 0.01
        endpoint = picker.pick(node.endpoints, keyed(b"same" if turn % 2 else b"%d" % turn))
        limit = ceil(1.25 * (len(held) + 1) / count)
        assert endpoint.in_flight < limit
        held.append(endpoint.take(a_call()))


def test_one_hot_key_overflows_to_the_same_neighbours() -> None:
    node = Node(10)
    picker = make(HEADER, node.tools)
    order = []
    for _ in range(10):
        endpoint = picker.pick(node.endpoints, keyed(b"hot"))
        endpoint.take(a_call())
        order.append(endpoint.address)
    assert len(set(order)) > 5
    again = Node(10)
    assert make(HEADER, again.tools).pick(again.endpoints, keyed(b"hot")).address == order[0]


def test_weights_make_longer_arcs() -> None:
    node = Node(4)
    node.endpoints[1].weight = 3.0
    shares = Counter(homes(node, node.endpoints).values())
    assert 0.4 < shares["1:1"] / len(KEYS) < 0.6


def test_a_large_ring_is_bounded_and_spreads() -> None:
    node = Node(1024)
    rng = random.Random(5)
    ring = Ring(node.endpoints, rng)
    assert len(ring._points) <= 16_384
    found = {ring.find(rng.getrandbits(64), 1.25, 0.0).address for _ in range(5000)}
    assert len(found) > 900


def by_principal(name: str) -> Call:
    call = a_call()
    call.principal = name
    return call


def test_sequence_principal_and_body_are_in_the_call() -> None:
    node = Node(10)
    whose = make(Pick("hash_ring", by="principal"), node.tools)
    assert len({whose.pick(node.endpoints, by_principal("ann")).address for _ in range(10)}) == 1
    assert len({whose.pick(node.endpoints, by_principal(str(n))).address for n in range(50)}) > 5
    by_sequence = make(Pick("hash_ring", by="sequence"), node.tools)
    assert len({by_sequence.pick(node.endpoints, a_call(sequence="7")).address for _ in range(10)}) == 1
    assert len({by_sequence.pick(node.endpoints, a_call(sequence=str(n))).address for n in range(50)}) > 5
    by_body = make(Pick("hash_ring", by="body"), node.tools)
    assert len({by_body.pick(node.endpoints, a_call()).address for _ in range(10)}) == 1


def test_without_a_key_load_spreads() -> None:
    node = Node(10)
    picker = make(HEADER, node.tools)
    assert len({picker.pick(node.endpoints, a_call()).address for _ in range(100)}) == 10


def test_it_says_what_it_wants() -> None:
    assert make(HEADER).wants == "header:x-user"
    assert make(Pick("expected_wait")).wants == ""
