"""An endpoint serves a version only while it is READY there, and is expected to take what is known of it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from routing.endpoint import CAUTION, FIRST_SHARE, MOST_DONE, MOST_USUAL
from tests.support.fleet import KEY, Node
from tests.support.pools import State, a_call, an_endpoint

MODELS = {"m": {"1": "UNAVAILABLE", "2": "READY"}, "never": {}, "loading": {"1": "LOADING"}}
CALL = a_call("m", "1")


@pytest.mark.parametrize(
    ("model", "version", "serves"),
    [
        ("m", "2", True),
        ("m", "1", False),
        ("m", "3", False),
        ("m", "", True),
        ("never", "", False),
        ("loading", "", False),
        ("loading", "1", False),
        ("other", "", False),
    ],
)
def test_serves(model: str, version: str, serves: bool) -> None:
    assert an_endpoint(models=MODELS).serves(model, version) is serves


def test_unknown_inventory_serves_anything() -> None:
    assert an_endpoint(models=None).serves("whatever", "7")


def test_repr_says_health_and_load() -> None:
    endpoint = an_endpoint("gpu:8001")
    for _ in range(3):
        endpoint.take(CALL)
    assert repr(endpoint) == "<Endpoint gpu:8001 live, 3 in flight>"
    endpoint.live, endpoint.reason = False, "refused"
    assert repr(endpoint) == "<Endpoint gpu:8001 down: refused, 3 in flight>"


def test_learning_tells_whether_candidates_or_their_order_may_change() -> None:
    endpoint = an_endpoint()
    models = {"m": {"1": State("READY", slot=1)}}
    assert endpoint.learn(True, True, "", models, 0)
    assert not endpoint.learn(True, True, "another reason", {"m": {"1": State("READY", slot=1)}}, 0)
    assert endpoint.learn(True, True, "", models, 5)
    assert endpoint.learn(True, True, "", models, 5, weight=2.0)
    assert endpoint.learn(False, True, "", models, 5, weight=2.0)


def test_own_sends_count_at_once_at_their_models_times() -> None:
    node = Node(1)
    node.serve(0.01)
    node.serve(0.5, model="n")
    node.endpoints[0].take(a_call("n", "1"))
    node.endpoints[0].take(CALL)
    assert node.wait() == pytest.approx(0.5 + 0.01 + 0.01)
    assert node.wait(0, ("n", "1")) == pytest.approx(0.5 + 0.01 + 0.5)


def test_without_a_version_the_newest_that_is_ready_counts() -> None:
    node = Node(1)
    versions = {
        "9": State("READY", slot=1),
        "10": State("READY", slot=2),
        "11": State("LOADING", slot=0),
        "x": State("READY"),
    }
    node.endpoints[0].learn(True, True, "", {"m": versions}, 0)
    node.board.publish(1, service=0.9)
    node.board.publish(2, service=0.1)
    assert node.wait(0, ("m", "")) == 0.1
    assert node.wait(0, ("m", "9")) == 0.9


def test_others_work_counts_in_seconds() -> None:
    node = Node(2)
    node.serve(0.02)
    node.others(0, 0.3)
    assert node.wait(0) == pytest.approx(0.02 + CAUTION * 0.3)
    assert node.wait(1) == pytest.approx(0.02)


def test_old_news_weighs_ever_less_and_never_falls_off_a_cliff() -> None:
    node = Node(1)
    node.serve(0.02)
    node.others(0, 1.0)
    waits = []
    for _ in range(600):
        waits.append(node.wait() - 0.02)
        node.clock.now += 0.05
    assert all(later < earlier for earlier, later in pairwise(waits))
    assert all(later > 0.9 * earlier for earlier, later in pairwise(waits))
    assert waits[-1] < 0.001


def scraped(node: Node, *seconds: float) -> list[float]:
    """What endpoint 0 is expected to take, 0.05 s after each scrape of so many seconds of others' work there."""
    waits = []
    for each in seconds:
        node.others(0, each)
        node.clock.now += 0.05
        waits.append(node.wait())
        node.clock.now += 0.05
    return waits


def test_others_work_that_comes_and_goes_counts_as_usual() -> None:
    node = Node(1)
    node.serve(0.02)
    node.endpoints[0].take(CALL).release()
    waits = scraped(node, *[0.0, 0.08] * 50)
    assert waits[-2] == pytest.approx(0.02 + CAUTION * 0.04, rel=0.1), "none just now, but there will be"
    assert waits[-1] == pytest.approx(waits[-2], rel=0.3)


def test_a_burst_of_others_counts_until_it_is_served_and_is_no_habit() -> None:
    node = Node(1)
    node.serve(0.02)
    node.endpoints[0].take(CALL).release()
    assert scraped(node, *[0.0] * 10)[-1] == pytest.approx(0.02)
    left = [2.0 - 0.1 * step for step in range(20)]
    assert scraped(node, *left) == pytest.approx([0.02 + each - 0.05 for each in left], abs=0.06)
    after = scraped(node, *[0.0] * 20)
    assert after[0] <= 0.02 + CAUTION * MOST_USUAL * 0.02
    assert after[10] < 0.06
    assert after[-1] < 0.04


def test_weight_divides_what_is_ahead() -> None:
    node = Node(2)
    node.serve(0.1)
    node.endpoints[1].learn(True, True, "", node.endpoints[1].inventory, 1, weight=4.0)
    for endpoint in node.endpoints:
        for _ in range(4):
            endpoint.take(CALL)
    assert node.wait(0) == pytest.approx(0.5)
    assert node.wait(1) == pytest.approx(0.2)
    assert node.endpoints[1].crowding(node.clock.now) == 1.0


def test_an_endpoint_that_comes_back_gains_its_capacity_slowly() -> None:
    node = Node(1)
    endpoint = node.endpoints[0]
    endpoint.slow_start = 10.0
    now = node.clock.now
    models = endpoint.inventory
    assert endpoint.capacity(now) == 1.0, "never at the first word of it"
    endpoint.learn(False, True, "gone", models, 0)
    endpoint.learn(True, True, "", models, 0, weight=2.0)
    assert endpoint.capacity(now) == pytest.approx(2.0 * FIRST_SHARE)
    assert endpoint.capacity(now + 5.0) == pytest.approx(1.0)
    assert endpoint.capacity(now + 10.0) == 2.0
    endpoint.learn(True, True, "", models, 0, weight=2.0)
    assert endpoint.capacity(now + 10.0) == 2.0


def test_measurements_outlive_a_change_of_the_inventory() -> None:
    node = Node(1)
    endpoint = node.endpoints[0]
    lease = endpoint.take(CALL)
    node.clock.now += 0.3
    lease.release(ok=True)
    endpoint.learn(True, True, "", {"m": {"1": State("READY", slot=2)}}, 0)
    assert endpoint.expected_wait(KEY, node.clock.now) == pytest.approx(0.3)


def test_the_request_that_is_served_counts_less_as_time_goes_by() -> None:
    node = Node(1)
    node.serve(0.1)
    first = node.endpoints[0].take(CALL)
    node.endpoints[0].take(CALL)
    assert node.wait() == pytest.approx(0.3)
    node.clock.now += 0.02
    assert node.wait() == pytest.approx(0.28)
    node.clock.now += 0.07
    assert node.wait() == pytest.approx(0.3 - 0.1 * MOST_DONE)
    first.release()
    assert node.wait() == pytest.approx(0.2)


def test_a_stuck_endpoint_looks_ever_worse() -> None:
    node = Node(2)
    node.serve(0.02)
    node.endpoints[0].take(CALL)
    waits = []
    for _ in range(20):
        node.clock.now += 0.1
        waits.append(node.wait(0))
    assert waits[0] < 0.1
    assert all(later >= earlier for earlier, later in pairwise(waits))
    assert waits[-1] > 1.5
    assert math.isclose(node.wait(1), 0.02)
