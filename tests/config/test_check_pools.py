"""What must hold within pools."""

from __future__ import annotations

import pytest

from config.checks import check
from tests.support.configurations import config_with, mistakes_with


def in_pool(written: str) -> list[str]:
    """The mistakes in a pool of these parts, without `pools.main`."""
    found = mistakes_with(pools=f"{{main: {{{written}}}}}")
    return [line.removeprefix("pools.main").removeprefix(".") for line in found]


def test_an_unknown_picker() -> None:
    assert mistakes_with(pools="{main: {endpoints: [a:1], pick: least_inflght}}") == [
        "pools.main.pick: expected one of: expected_wait, hash_ring, least_inflight, round_robin; "
        "got 'least_inflght'; "
        "did you mean 'least_inflight'?"
    ]
    assert list(check(config_with(), ["random"])) == [
        (("pools", "main", "pick", "kind"), "expected one of: random; got 'expected_wait'")
    ]


def test_an_endpoint_twice_in_a_pool() -> None:
    assert mistakes_with(pools="{main: {endpoints: [gpu-0:1, gpu-1:1, {address: GPU-0:1}]}}") == [
        "pools.main.endpoints[2]: expected each endpoint once, got 'GPU-0:1' again, as in pools.main.endpoints[0]"
    ]
    assert mistakes_with(pools="{main: {endpoints: [a:1]}, more: {endpoints: [a:1]}}") == []


SOURCES = "expected one of endpoints, discover and managed, got"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("endpoints: [a:1]", []),
        ("discover: {dns: triton:8001}", []),
        ("managed: {repository: models}", []),
        ("endpoints: [a:1], managed: null", []),
        ("pick: round_robin", [f": {SOURCES} none"]),
        ("endpoints: []", ["endpoints: expected at least one, got an empty list"]),
        ("endpoints: [a:1], discover: {dns: triton:8001}", [f": {SOURCES} endpoints and discover"]),
        (
            "endpoints: [a:1], discover: {dns: b:1}, managed: {repository: m}",
            [f": {SOURCES} endpoints, discover and managed"],
        ),
        ("discover: {}", ["discover: expected one of dns and srv, got none"]),
        ("discover: {dns: a:1, srv: _grpc._tcp.a}", ["discover: expected one of dns and srv, got dns and srv"]),
        ("discover: {dns: a:1, nameserver: 10.0.0.1:53, min_interval: 2s, max_interval: 2s}", []),
        (
            "discover: {dns: a:1, min_interval: 1m}",
            ["discover.min_interval: expected `min_interval` to be at most `max_interval`, which is 30s, got 1m"],
        ),
        (
            "endpoints: [a:1], outliers: {max: 1s}",
            ["outliers: expected `base` to be at most `max`, which is 1s, got 5s"],
        ),
        (
            "managed: {repository: a, backoff: 1m}",
            ["managed.backoff: expected `backoff` to be at most `max_backoff`, which is 30s, got 1m"],
        ),
        ("managed: {repository: a, replicas: 2, gpus: [0, '0,1']}", []),
        ("managed: {repository: a, replicas: 3, gpus: [GPU-5fd4]}", []),
        (
            "managed: {repository: a, replicas: 2, gpus: [0, 1, 2]}",
            ["managed.gpus[2]: expected at most one item for each of 2 replicas, got 3"],
        ),
        (
            "managed: {repository: [a, b, a]}",
            ["managed.repository[2]: expected each folder once, got 'a' again, as in pools.main.managed.repository[0]"],
        ),
    ],
)
def test_where_endpoints_come_from(written: str, found: list[str]) -> None:
    assert in_pool(written) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{kind: hash_ring, by: header:X-User, bound: 150%}", []),
        ("{bound: 1.5}", ["pick.bound: expected no `bound`, which is for hash_ring, not for expected_wait"]),
        (
            "{kind: round_robin, by: body}",
            ["pick.by: expected no `by`, which is for hash_ring, not for round_robin"],
        ),
        (
            "{kind: hash_ring, by: x-user}",
            ["pick.by: expected header:NAME, principal, sequence or body, got 'x-user'"],
        ),
    ],
)
def test_how_an_endpoint_is_chosen(written: str, found: list[str]) -> None:
    assert in_pool(f"endpoints: [a:1], pick: {written}") == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{mode: repository}", []),
        ("{mode: explicit, load: [a, {name: b, config: '{}'}], load_timeout: 1m}", []),
        ("{mode: on_demand, load: [a], max_loaded: 1, memory: 8GiB, idle_unload: 1h}", []),
        ("{load: [a]}", ["models.load: expected no `load`, which is for the modes explicit and on_demand"]),
        (
            "{mode: explicit, max_loaded: 3}",
            ["models.max_loaded: expected no `max_loaded`, which is for the mode on_demand"],
        ),
        (
            "{mode: on_demand, load: [a, b], max_loaded: 1}",
            [
                "models.max_loaded: expected max_loaded to be at least as many as `load` names, 2, got 1",
            ],
        ),
        (
            "{mode: explicit, load: [a, b, a]}",
            ["models.load[2]: expected each model once, got 'a' again, as in pools.main.models.load[0]"],
        ),
        (
            "{mode: explicit, load: [{name: a, config: '[1]'}]}",
            ["models.load[0].config: expected a JSON object, got '[1]': Expected `object`, got `array`"],
        ),
        ("{mode: eager}", ["models.mode: expected one of: explicit, on_demand, repository; got 'eager'"]),
    ],
)
def test_what_endpoints_have_loaded(written: str, found: list[str]) -> None:
    assert in_pool(f"endpoints: [a:1], models: {written}") == found
