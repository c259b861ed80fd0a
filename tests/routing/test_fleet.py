"""Leases are released exactly once, whatever happens; service times are published, measured or guessed."""

from __future__ import annotations

import random

import pytest

from routing.fleet import (
    FADE_REQUESTS,
    FADE_SECONDS,
    MOST_TIMES,
    REMEMBERED_MODELS,
    UNKNOWN_SECONDS,
    UNMEASURED_PENALTY,
    Fleet,
    Lease,
    faded,
    fading,
)
from tests.support.fleet import KEY, OTHER, Node
from tests.support.pools import a_call, an_endpoint

CALL = a_call("m", "1")


def load(node: Node, number: int = 0) -> tuple[int, float, int, float, int]:
    endpoint, slot = node.endpoints[number], node.slot(number)
    board = node.board
    return endpoint.in_flight, endpoint.seconds, board.in_flight(number), board.seconds(number), board.in_flight(slot)


def test_a_lease_is_load_here_and_on_the_board_until_it_is_released() -> None:
    node = Node(2)
    node.serve(0.25)
    lease = node.endpoints[0].take(CALL)
    assert load(node) == (1, 0.25, 1, 0.25, 1)
    assert load(node, 1) == (0, 0.0, 0, 0.0, 0)
    assert lease.endpoint is node.endpoints[0]
    for _ in range(3):
        lease.release()
        assert load(node) == (0, 0.0, 0, 0.0, 0)


def test_what_was_added_is_removed_though_everything_changed_meanwhile() -> None:
    node = Node(2)
    node.serve(0.25)
    endpoint = node.endpoints[0]
    lease = endpoint.take(CALL)
    node.serve(5.0)
    endpoint.learn(True, True, "", {}, slot=-1)
    lease.release()
    assert (node.board.in_flight(0), node.board.seconds(0), endpoint.in_flight, endpoint.seconds) == (0, 0.0, 0, 0.0)


def test_after_any_number_of_requests_nothing_is_left() -> None:
    rng = random.Random(2)
    node = Node(4)
    held: list[Lease] = []
    for _ in range(5000):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held))).release(ok=rng.random() < 0.5)
        else:
            held.append(rng.choice(node.endpoints).take(CALL))
        node.clock.now += rng.random() * 0.01
        if rng.random() < 0.1:
            node.serve(rng.random(), rng.randrange(4))
    for lease in held:
        lease.release(ok=True)
    assert [load(node, number) for number in range(4)] == [(0, 0.0, 0, 0.0, 0)] * 4


def test_without_a_board_a_worker_knows_its_own_load() -> None:
    endpoint = an_endpoint()
    lease = endpoint.take(CALL)
    assert (endpoint.in_flight, endpoint.seconds) == (1, UNKNOWN_SECONDS)
    assert endpoint.work(0.0) == UNKNOWN_SECONDS
    lease.release()
    assert (endpoint.in_flight, endpoint.seconds) == (0, 0.0)


def test_the_published_time_is_what_is_expected() -> None:
    node = Node(2)
    node.serve(0.03, 0)
    node.serve(0.07, 0, model="n")
    assert node.wait(0, KEY) == 0.03
    assert node.wait(0, OTHER) == 0.07


def test_a_published_time_that_is_lost_is_remembered() -> None:
    node = Node(1)
    node.serve(0.03)
    node.endpoints[0].take(CALL).release()
    node.serve(0.0)
    assert node.wait() == 0.03


def test_where_a_model_is_new_it_is_expected_to_take_what_it_takes_elsewhere() -> None:
    node = Node(2)
    node.serve(0.2, 0)
    node.endpoints[0].take(CALL).release()
    assert node.wait(1) == 0.2


def test_the_second_request_waits_for_the_first_to_measure() -> None:
    node = Node(1)
    assert node.wait() == UNKNOWN_SECONDS
    node.endpoints[0].take(CALL)
    assert node.wait() == UNKNOWN_SECONDS + UNKNOWN_SECONDS * UNMEASURED_PENALTY


def after(node: Node, seconds: float, *leases: Lease) -> None:
    node.clock.now += seconds
    for lease in leases:
        lease.release(ok=True)


def test_without_counters_a_worker_measures() -> None:
    node = Node(1)
    for _ in range(20):
        after(node, 0.012, node.endpoints[0].take(CALL))
    assert node.wait() == pytest.approx(0.012)


def test_what_waited_ahead_is_not_measured_as_service() -> None:
    node = Node(1)
    endpoint = node.endpoints[0]
    for _ in range(100):
        leases = [endpoint.take(CALL) for _ in range(3)]
        for lease in leases:
            after(node, 0.01, lease)
    assert node.wait() == pytest.approx(0.01, rel=0.15)


def test_a_slower_endpoint_is_noticed() -> None:
    node = Node(1)
    for _ in range(50):
        after(node, 0.01, node.endpoints[0].take(CALL))
    for _ in range(100):
        after(node, 0.04, node.endpoints[0].take(CALL))
    assert node.wait() == pytest.approx(0.04, rel=0.1)


def busy(node: Node, seconds: float, *numbers: int, each: float = 0.01) -> None:
    """For so long, requests go to these endpoints in turn, one after the other."""
    until = node.clock.now + seconds
    while node.clock.now < until:
        for number in numbers:
            after(node, each, node.endpoints[number].take(CALL))


def test_one_slow_first_answer_is_forgotten_where_nobody_asks_any_more() -> None:
    node = Node(4)
    busy(node, 1.0, 1, 2, 3)
    first = node.endpoints[0].take(CALL)
    after(node, 5.0, first)
    assert node.wait(0) == pytest.approx(0.01 * MOST_TIMES), "some of it was somebody else's, as far as one can tell"
    busy(node, 5 * FADE_SECONDS, 1, 2, 3)
    assert node.wait(0) < 0.0102
    after(node, 0.01, node.endpoints[0].take(CALL))
    busy(node, 0.5, 1, 2, 3)
    assert node.wait(0) == pytest.approx(0.01, rel=0.02)


def test_one_that_is_truly_slower_is_tried_by_one_request_at_a_time_and_known_again() -> None:
    node = Node(4)
    for _ in range(30):
        after(node, 0.04, node.endpoints[0].take(CALL))
    busy(node, 5 * FADE_SECONDS, 1, 2, 3)
    assert node.wait(0) < 0.0105
    lease = node.endpoints[0].take(CALL)
    assert node.wait(0) > 0.04, "until it tells, what was known counts"
    after(node, 0.04, lease)
    assert node.wait(0) == pytest.approx(0.04, rel=0.1)


def test_where_others_queue_unseen_that_is_not_learned_for_ever() -> None:
    node = Node(2)
    busy(node, 1.0, 0, 1)
    for _ in range(10):
        after(node, 0.5, node.endpoints[0].take(CALL))
    assert node.wait(0) > 0.03
    busy(node, 4 * FADE_SECONDS, 1)
    assert node.wait(0) < 0.011


def test_a_slow_endpoint_that_is_used_does_not_fade() -> None:
    node = Node(2)
    for _ in range(60):
        after(node, 0.04, node.endpoints[0].take(CALL))
        busy(node, 0.9, 1)
    assert node.wait(0) == pytest.approx(0.04, rel=0.05)


def test_fading_takes_time_and_requests_elsewhere() -> None:
    assert fading(FADE_SECONDS, 1e9, 4) == 1.0
    assert fading(1e9, 4 * FADE_REQUESTS, 4) == 1.0
    assert fading(1e9, 0.0, 4) == 0.0
    assert faded(4.0, 1.0, 0.0) == pytest.approx(4.0)
    assert faded(4.0, 1.0, 100.0) == pytest.approx(0.985)
    assert faded(0.5, 1.0, 100.0) == 0.5


def test_failures_measure_nothing() -> None:
    node = Node(1)
    after(node, 0.01, node.endpoints[0].take(CALL))
    lease = node.endpoints[0].take(CALL)
    node.clock.now += 60.0
    lease.release()
    assert node.wait() == pytest.approx(0.01)


def test_two_workers_know_each_others_load() -> None:
    first = Node(1)
    second = Node(1, first.board, worker=1)
    first.serve(0.1)
    first.endpoints[0].take(CALL)
    assert second.wait() == pytest.approx(0.2)
    assert second.endpoints[0].node_in_flight() == 1
    assert second.endpoints[0].in_flight == 0


def test_many_models_are_forgotten_rather_than_kept_for_ever() -> None:
    fleet = Fleet()
    for number in range(REMEMBERED_MODELS + 10):
        fleet.typical((f"m{number}", ""))
    assert len(fleet._typical) <= REMEMBERED_MODELS
