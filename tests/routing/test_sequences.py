"""A sequence stays where it started, whichever worker is asked, and is lost by name when its endpoint goes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from config.pools import Outliers
from routing.call import Call
from routing.connectors.outcome import AllBroken, broken, from_status
from routing.endpoint import Endpoint
from routing.pool import Pool
from routing.sequence_table import BUCKET, SequenceTable
from routing.sequences import SETTLING, LostSequence, Sequences, by_sequence
from tests.support.clock import Clock
from tests.support.pools import OK, ScriptedChannel, a_call, a_pool, an_endpoint
from transcoding.http2.errors import ErrorCode
from transcoding.status import Code, GatewayError

READY = {"m": {"1": "READY"}}
IDLE = 60.0


class Node:
    """Two workers of one node, each with its own view of the same endpoints."""

    def __init__(self, count: int = 4, capacity: int = 4096) -> None:
        self.clock = Clock()
        self.table = SequenceTable.open(None, capacity)
        addresses = [f"10.0.0.{number}:8001" for number in range(count)]
        self.workers = [self._pool(addresses) for _ in range(2)]
        self.clock.now += 2 * SETTLING

    def _pool(self, addresses: list[str]) -> Pool:
        pool = a_pool([])
        pool.sequences = Sequences("p", self.table, IDLE, self.clock)
        pool.set_endpoints(an_endpoint(address, READY) for address in addresses)
        return pool

    def request(self, worker: int, sequence: str, start: bool = False, end: bool = False) -> Endpoint:
        call = a_request(sequence, start, end)
        asyncio.run(self.workers[worker].forward(call))
        assert call.endpoint is not None
        return call.endpoint

    def add(self, worker: int, address: str) -> None:
        pool = self.workers[worker]
        pool.set_endpoints((*pool.endpoints, an_endpoint(address, READY)))

    def drop(self, address: str) -> None:
        for pool in self.workers:
            pool.set_endpoints(endpoint for endpoint in pool.endpoints if endpoint.address != address)


def a_request(sequence: str = "42", start: bool = False, end: bool = False, model: str = "m") -> Call:
    call = a_call(model, sequence=sequence)
    call.mark({"sequence_start": start, "sequence_end": end})
    return call


def test_sequences_spread_and_one_that_leaves_moves_only_its_own() -> None:
    four = tuple(an_endpoint(f"host-{number}:8001") for number in range(4))
    homes = [by_sequence(four, "m", str(number)) for number in range(400)]
    assert min(Counter(home.address for home in homes).values()) > 60
    for number, home in enumerate(homes):
        after = by_sequence(four[:3], "m", str(number))
        assert after is home or home is four[3]


def test_a_sequence_keeps_its_endpoint_in_every_worker_while_endpoints_come_and_go() -> None:
    node = Node(2)
    homes = {str(n): node.request(n % 2, str(n), start=True).address for n in range(100)}
    for worker in (0, 1):
        for late in range(6):
            node.add(worker, f"10.0.1.{late}:8001")
    node.clock.now += 5.0
    for n, (sequence, home) in enumerate(homes.items()):
        assert node.request((n + 1) % 2, sequence).address == home
    fresh = {node.request(0, str(n), start=True).address for n in range(1000, 1100)}
    assert len(fresh) == 8, "new ones go to the new endpoints, too"


def test_two_workers_that_do_not_know_the_same_endpoints_agree_on_whoever_was_first() -> None:
    node = Node(2)
    node.clock.now += 5.0
    late = [f"10.0.1.{number}:8001" for number in range(8)]
    for address in late:
        node.add(0, address)
        node.add(1, address)
    node.clock.now += 5.0
    node.workers[1].set_endpoints(node.workers[1].endpoints[::2])
    for n in range(50):
        home = node.request(1, str(n), start=True).address
        assert node.request(0, str(n), start=True).address == home


def test_a_new_endpoint_gets_no_sequence_before_all_workers_know_it() -> None:
    node = Node(1)
    node.add(0, "10.0.1.1:8001")
    assert {node.request(0, str(n), start=True).address for n in range(50)} == {"10.0.0.0:8001"}
    node.clock.now += SETTLING
    assert len({node.request(0, str(n), start=True).address for n in range(50, 100)}) == 2


def test_it_is_forgotten_at_its_end_and_when_it_paused_too_long() -> None:
    node = Node()
    node.request(0, "a", start=True)
    node.request(0, "b", start=True)
    assert node.table.live(node.clock()) == 2
    node.request(1, "a", end=True)
    assert node.table.live(node.clock()) == 1
    node.clock.now += IDLE - 1
    node.request(1, "b")
    node.clock.now += IDLE - 1
    assert node.table.live(node.clock()) == 1
    node.clock.now += 2.0
    assert node.table.live(node.clock()) == 0


def test_one_that_is_not_known_goes_where_the_hash_says_and_is_not_kept() -> None:
    node = Node()
    assert node.request(0, "9").address == by_sequence(node.workers[0].endpoints, "m", "9").address
    assert node.table.live(node.clock()) == 0


def test_when_its_endpoint_is_gone_it_is_lost_until_it_starts_again() -> None:
    node = Node()
    home = node.request(0, "42", start=True).address
    other = next(str(n) for n in range(99) if node.request(0, str(n), start=True).address != home)
    node.drop(home)
    text = f"sequence 42 of model 'm' was lost: its endpoint {home} is gone; start it again"
    for worker in (0, 1):
        with pytest.raises(LostSequence) as caught:
            node.request(worker, "42")
        assert (caught.value.message, caught.value.code, caught.value.executed) == (text, Code.UNAVAILABLE, False)
    node.request(1, other)
    again = node.request(1, "42", start=True).address
    assert again != home
    assert node.request(0, "42").address == again


@pytest.mark.parametrize(("live", "text"), [(False, "is not live"), (True, "no longer has the model")])
def test_it_is_lost_when_its_endpoint_no_longer_serves_it(live: bool, text: str) -> None:
    node = Node()
    home = node.request(0, "42", start=True)
    home.live, home.inventory = live, {}
    node.workers[0].changed()
    node.request(0, "42")  # another worker may know better for a moment
    node.clock.now += 2 * SETTLING
    with pytest.raises(LostSequence, match=text):
        node.request(0, "42")
    home.live, home.inventory = True, node.workers[0].endpoints[0].inventory
    with pytest.raises(LostSequence, match="is gone"):
        node.request(0, "42")


def a_node_with(*answers: GatewayError | bytes, connected: bool = True) -> tuple[Pool, Endpoint, Endpoint]:
    channel = ScriptedChannel(OK, *answers, connected=True)
    other = an_endpoint("other:1", READY)
    home = an_endpoint("home:1", READY, channel)
    pool = a_pool([home])
    asyncio.run(pool.forward(a_request(start=True)))
    channel.connected = connected
    pool.set_endpoints([home, other])
    return pool, home, other


@pytest.mark.parametrize(
    ("error", "connected", "text"),
    [
        (broken("home:1", ErrorCode.CANCEL, executed=True), True, "ended while it had a request of it"),
        (broken("home:1", ErrorCode.CANCEL, executed=False), False, "cannot be reached"),
        (from_status(Code.UNAVAILABLE, "model 'm' is not at ready state"), True, "no longer has the model"),
    ],
)
def test_a_failure_that_ends_it_names_it_and_asks_no_other_endpoint(
    error: GatewayError, connected: bool, text: str
) -> None:
    pool, _, other = a_node_with(error, OK, connected=connected)
    for _ in range(2):
        with pytest.raises(LostSequence, match="sequence 42 of model 'm' was lost: its endpoint home:1") as caught:
            asyncio.run(pool.forward(a_request()))
        assert text in caught.value.message or "is gone" in caught.value.message
    assert not other.outcomes


def test_one_that_was_not_taken_is_sent_again_to_where_its_state_is() -> None:
    pool, home, other = a_node_with(broken("home:1", ErrorCode.CANCEL, executed=False), OK)
    asyncio.run(pool.forward(a_request()))
    assert (home.outcomes["ok"], other.outcomes["ok"]) == (2, 0)


def test_a_start_that_was_not_taken_may_begin_elsewhere() -> None:
    refuses = ScriptedChannel(broken("home:1", ErrorCode.CANCEL, executed=False))
    home, other = an_endpoint("home:1", READY, refuses), an_endpoint("other:1", READY)
    pool = a_pool([home, other])
    sequence = next(str(n) for n in range(99) if by_sequence((home, other), "m", str(n)) is home)
    asyncio.run(pool.forward(a_request(sequence, start=True)))
    asyncio.run(pool.forward(a_request(sequence)))
    assert other.outcomes["ok"] == 2


def test_it_is_where_its_state_is_though_calls_of_others_fail_there() -> None:
    pool, home, other = a_node_with()
    for _ in range(pool.health.spec.consecutive):
        call = a_request("")
        pool.health.failed(call, home, broken("home:1", ErrorCode.CANCEL, executed=True), (home, other))
    assert pool.health.out
    asyncio.run(pool.forward(a_request()))
    assert home.outcomes["ok"] == 2
    starts = {pool.choose(a_request(str(n), start=True)).address for n in range(20)}
    assert starts == {"other:1"}


def test_too_many_are_refused_by_name_of_the_limit() -> None:
    node = Node(capacity=BUCKET)
    for number in range(BUCKET):
        node.request(0, str(number), start=True)
    with pytest.raises(GatewayError, match="too many stateful sequences"):
        node.request(0, "more", start=True)
    node.request(1, "3")


def test_without_an_endpoint_for_the_model_the_answer_is_the_usual_one() -> None:
    node = Node()
    with pytest.raises(GatewayError, match="unknown model: 'other' is not found"):
        node.workers[0].choose(a_request(start=True, model="other"))


def break_model(pool: Pool, endpoint: Endpoint) -> None:
    for _ in range(pool.health.spec.consecutive):
        pool.health.failed(a_call(), endpoint, from_status(13, "boom"), pool.endpoints)
    assert pool.health.out == 1


def test_a_sequence_starts_where_calls_succeed_and_one_that_is_under_way_stays() -> None:
    node = Node()
    homes = {str(number): node.request(0, str(number), start=True) for number in range(40)}
    pool = node.workers[0]
    broken_one = homes["0"]
    break_model(pool, broken_one)
    for sequence, home in homes.items():
        assert node.request(0, sequence) is home
    assert broken_one not in {node.request(0, str(number), start=True) for number in range(100, 140)}


def test_one_that_starts_again_leaves_an_endpoint_where_calls_fail_for_all_workers() -> None:
    node = Node()
    home = node.request(0, "42", start=True)
    break_model(node.workers[0], home)
    moved = node.request(0, "42", start=True)
    assert moved is not home
    assert node.request(1, "42").address == moved.address


def test_none_starts_where_breakers_keep_everything_away() -> None:
    pool = a_pool([an_endpoint("a:1", READY)], outliers=Outliers(consecutive=1, max_ejected=1.0, panic=0.0))
    call = a_request("42", start=True)
    asyncio.run(pool.forward(call))
    pool.health.failed(a_call(), pool.endpoints[0], from_status(13, "boom"), pool.endpoints)
    asyncio.run(pool.forward(a_request("42")))
    with pytest.raises(AllBroken):
        asyncio.run(pool.forward(a_request("42", start=True)))
