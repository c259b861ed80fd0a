"""Who is next, who goes when there is no room, and that nothing is left behind."""

from __future__ import annotations

import math
import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routing.queueing import MOST_REMEMBERED, FairQueue, Waiting


def waiting(tenant: str = "a", rank: int = 0, size: int = 1, until: float = math.inf) -> Waiting:
    return Waiting(tenant, rank, size, until, lambda end: True)


def jain(shares: list[float]) -> float:
    """Jain's fairness index: 1 if all have the same, 1/n if one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(each * each for each in shares))


def test_the_more_urgent_class_is_always_first() -> None:
    queue = FairQueue(3, 100, 1000)
    for rank in (2, 0, 1, 2, 0):
        queue.push(waiting(rank=rank))
    assert queue.rank == 0
    assert queue.ahead(1) == 3
    order = [queue.pop(0.0)[0] for _ in range(5)]
    assert [each.rank for each in order if each is not None] == [0, 0, 1, 2, 2]
    assert (queue.pop(0.0), queue.rank, queue.count, queue.bytes) == ((None, []), 3, 0, 0)


def test_tenants_of_a_class_have_the_same_share_whatever_they_send() -> None:
    queue, rng, served = FairQueue(1, 1000, 10_000), random.Random(1), Counter[str]()
    demand = {"modest": 2, "greedy": 40, "other": 3}
    for _ in range(3000):
        for tenant, weight in demand.items():
            for _ in range(weight):
                if rng.random() < 0.5:
                    queue.push(waiting(tenant))
        call, _ = queue.pop(0.0)
        assert call is not None
        served[call.tenant] += 1
    assert jain([float(served[tenant]) for tenant in demand]) > 0.999


def test_a_tenant_that_was_away_does_not_save_up_its_share() -> None:
    queue = FairQueue(1, 1000, 1000)
    for _ in range(100):
        queue.push(waiting("a"))
    for _ in range(50):
        queue.pop(0.0)
    for _ in range(20):
        queue.push(waiting("b"))
    served = [call.tenant for call, _ in (queue.pop(0.0) for _ in range(20)) if call is not None]
    assert 9 <= served.count("b") <= 11


def test_a_tenant_that_comes_and_goes_has_no_more_than_its_share() -> None:
    queue = FairQueue(1, 1000, 1000)
    for _ in range(100):
        queue.push(waiting("a"))
    served = []
    for _ in range(60):
        if not any(call == "b" for call in served[-1:]):
            queue.push(waiting("b"))
        call, _ = queue.pop(0.0)
        assert call is not None
        served.append(call.tenant)
    assert 28 <= served.count("b") <= 32


def test_when_it_is_full_the_least_urgent_makes_room_and_the_newest_of_it() -> None:
    queue = FairQueue(3, 4, 1000)
    low = [waiting(rank=2) for _ in range(3)]
    for call in (*low, waiting(rank=1)):
        assert queue.push(call) == []
    assert queue.push(waiting(rank=2)) is None
    assert queue.push(waiting(rank=0)) == [low[2]]
    assert queue.push(waiting(rank=1)) == [low[1]]
    assert queue.push(waiting(rank=0)) == [low[0]]
    assert queue.count == 4
    assert queue.push(waiting(rank=1)) is None


def test_within_a_class_the_tenant_of_whom_most_wait_makes_room() -> None:
    queue = FairQueue(1, 4, 1000)
    greedy = [waiting("greedy") for _ in range(4)]
    for call in greedy:
        queue.push(call)
    assert queue.push(waiting("greedy")) is None
    assert queue.push(waiting("modest")) == [greedy[3]]
    assert queue.push(waiting("modest")) == [greedy[2]]
    assert queue.push(waiting("modest")) is None


def test_bytes_are_bounded_and_nobody_goes_in_vain() -> None:
    queue = FairQueue(2, 100, 100)
    low = [waiting(rank=1, size=30) for _ in range(3)]
    for call in low:
        queue.push(call)
    assert queue.push(waiting(rank=1, size=11)) is None
    assert queue.push(waiting(rank=0, size=101)) is None
    assert queue.count == 3
    assert queue.push(waiting(rank=0, size=60)) == [low[2], low[1]]
    assert (queue.count, queue.bytes) == (2, 90)


def test_what_came_too_late_is_not_served() -> None:
    queue = FairQueue(2, 100, 100)
    late = [waiting(until=1.0), waiting("b", 1, until=2.0)]
    good = waiting(rank=1, until=5.0)
    for call in (*late, good):
        queue.push(call)
    assert queue.pop(3.0) == (good, late)
    assert queue.count == queue.bytes == 0


def test_what_does_not_wait_cannot_be_removed() -> None:
    with pytest.raises(KeyError):
        FairQueue(1, 1, 1).remove(waiting())


class Storm(RuleBasedStateMachine):
    """Any order of comings and goings leaves the counts right and the structures small."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(3, 12, 60)
        self.there: list[Waiting] = []
        self.now = 0.0

    @rule(
        tenant=st.sampled_from("abcdefgh"),
        rank=st.integers(0, 2),
        size=st.integers(0, 30),
        time_left=st.floats(0, 10),
    )
    def comes(self, tenant: str, rank: int, size: int, time_left: float) -> None:
        call = waiting(tenant, rank, size, self.now + time_left)
        before = list(self.there)
        victims = self.queue.push(call)
        if victims is None:
            return
        assert all(victim.rank >= rank for victim in victims)
        self.there = [each for each in before if each not in victims] + [call]

    @rule()
    def is_served(self) -> None:
        call, late = self.queue.pop(self.now)
        assert all(each.until < self.now for each in late)
        if call is not None:
            assert call.until >= self.now
            assert not [each for each in self.there if each.rank < call.rank and each not in late]
            self.there.remove(call)
        for each in late:
            self.there.remove(each)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.there))
        self.queue.remove(call)
        self.there.remove(call)

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_are_right(self) -> None:
        assert self.queue.count == len(self.there) <= 12
        assert self.queue.bytes == sum(each.size for each in self.there) <= 60
        assert self.queue.rank == min((each.rank for each in self.there), default=3)
        for rank, each in enumerate(self.queue._classes):
            mine = Counter(call.tenant for call in self.there if call.rank == rank)
            assert each.count == sum(mine.values())
            assert set(each._tenants) == set(mine)
            assert {n: set(names) for n, names in each._lengths.items()} == {
                n: {name for name, count in mine.items() if count == n} for n in set(mine.values())
            }
            assert not mine or each._longest == max(mine.values())


TestStorm = Storm.TestCase


@pytest.mark.parametrize("standing", [0, 3])
def test_memory_stays_small_whatever_comes_and_goes(standing: int) -> None:
    queue = FairQueue(1, 100, 1000)
    for number in range(standing):
        queue.push(waiting(f"s{number}"))
    for number in range(2 * MOST_REMEMBERED):
        call = waiting(f"t{number}")
        queue.push(call)
        if number % 3:
            queue.remove(call)
        else:
            queue.pop(0.0)
    tenants = queue._classes[0]
    while queue.count > standing:
        queue.pop(0.0)
    assert len(tenants._tenants) <= standing
    assert len(tenants._heap) <= 100
    assert len(tenants._left) <= (MOST_REMEMBERED if standing else 0)
    assert sum(map(len, tenants._lengths.values())) == len(tenants._tenants)


@pytest.mark.slow
def test_an_operation_costs_the_same_whoever_waits() -> None:
    def cost(tenants: int) -> float:
        queue = FairQueue(1, 10**9, 10**12)
        for number in range(tenants * 4):
            queue.push(waiting(f"t{number % tenants}"))
        started = time.perf_counter()
        for number in range(2000):
            queue.push(waiting(f"t{number % tenants}"))
            queue.pop(0.0)
        return time.perf_counter() - started

    assert min(cost(10_000) for _ in range(3)) < 8 * min(cost(10) for _ in range(3))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=30))
def test_the_order_within_a_tenant_is_that_of_coming(steps: list[tuple[str, int]]) -> None:
    queue = FairQueue(1, 1000, 1000)
    pushed = [waiting(tenant) for tenant, count in steps for _ in range(count)]
    for call in pushed:
        queue.push(call)
    served = [queue.pop(0.0)[0] for _ in pushed]
    for tenant in "abc":
        assert [each for each in served if each is not None and each.tenant == tenant] == [
            each for each in pushed if each.tenant == tenant
        ]
