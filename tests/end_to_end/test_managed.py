"""Gateways that run their own Tritons, under load: what is killed comes back, and nothing is left at the end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.gateway_process import alive, roles
from tests.support.hammer import Hammer
from tests.support.managed_tritons import gateway, managed, metric, tritons_of
from tests.support.model_repository import write_repository
from tests.support.processes import _all

pytestmark = [pytest.mark.triton, pytest.mark.slow]

RETRY = {"kind": "retry", "idempotent": True, "attempts": 3, "min_per_second": 100}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "models", ["simple"])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def zombies_of(parent: int) -> list[int]:
    return [pid for pid, fields in _all() if fields[0] == "Z" and int(fields[1]) == parent]


def place(gateway: Gateway, pool: dict[str, Any]) -> None:
    """Let the Tritons of this gateway be known by their environment."""
    pool["managed"]["environment"]["PENSTOCK_TEST_PLACE"] = str(gateway.directory)


@pytest.fixture
def two(repository: Path) -> Iterator[Gateway]:
    pool = {"managed": managed(repository, replicas=2)}
    route = {"name": "all", "match": {"model": "*"}, "to": "tritons", "policies": [RETRY]}
    one = gateway(pool, settings={"routes": [route]})
    place(one, one.config["pools"]["tritons"])
    with one:
        until(lambda: metric(one, "penstock_managed_replicas", state="ready") == 2)
        until(lambda: metric(one, "penstock_endpoint_ready") == 2)
        yield one
    assert tritons_of(one) == {}


def test_a_killed_triton_comes_back_and_no_idempotent_request_fails(two: Gateway) -> None:
    before = tritons_of(two)
    assert len(before) == 2
    with Hammer(two.address, lambda: "simple") as load:
        until(lambda: load.outcomes["ok"] > 50)
        victim = next(iter(before))
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(tritons_of(two)) == 2 and victim not in tritons_of(two))
        until(lambda: metric(two, "penstock_endpoint_ready") == 2)
        done = load.outcomes["ok"]
        until(lambda: load.outcomes["ok"] > done + 50)
    assert sorted(tritons_of(two).values()) == sorted(before.values())  # at its address again
    assert metric(two, "penstock_managed_ends_total") == 1
    assert load.failures == {}


def test_control_that_is_killed_costs_no_request_and_no_triton(two: Gateway) -> None:
    before = tritons_of(two)
    with Hammer(two.address, lambda: "simple") as load:
        until(lambda: load.outcomes["ok"] > 50)
        control = roles(two.process.pid)["control"]
        os.kill(control, signal.SIGKILL)
        until(lambda: roles(two.process.pid).get("control", control) != control)
        two.wait_ready()
        until(lambda: metric(two, "penstock_managed_replicas", state="ready") == 2)
        done = load.outcomes["ok"]
        until(lambda: load.outcomes["ok"] > done + 50)
    assert load.failures == {}
    assert tritons_of(two) == before
    victim = next(iter(before))
    assert parent_of(victim) == two.process.pid
    os.kill(victim, signal.SIGKILL)  # the new control watches what it took over
    until(lambda: len(tritons_of(two)) == 2 and tritons_of(two) != before)
    until(lambda: not Path(f"/proc/{victim}").exists())
    until(lambda: zombies_of(two.process.pid) == [])


def test_nothing_outlives_a_gateway_that_is_killed(repository: Path) -> None:
    one = gateway({"managed": managed(repository)})
    place(one, one.config["pools"]["tritons"])
    try:
        one.start()
        pids = [*tritons_of(one), *roles(one.process.pid).values()]
        assert len(pids) == 3
        one.process.kill()
        until(lambda: not any(map(alive, pids)))
    finally:
        one.stop()


def test_a_triton_that_stands_still_is_replaced(repository: Path) -> None:
    pool = {"managed": managed(repository, replicas=2, hung_after="2s", drain_timeout="1s")}
    route = {"name": "all", "match": {"model": "*"}, "to": "tritons", "policies": [RETRY]}
    pool["readiness"] = {"interval": "200ms", "timeout": "300ms"}
    one = gateway(pool, settings={"routes": [route]})
    place(one, one.config["pools"]["tritons"])
    with one:
        until(lambda: metric(one, "penstock_endpoint_ready") == 2)
        before = tritons_of(one)
        with Hammer(one.address, lambda: "simple") as load:
            until(lambda: load.outcomes["ok"] > 50)
            victim = next(iter(before))
            os.kill(victim, signal.SIGSTOP)
            until(lambda: not alive(victim))
            until(lambda: metric(one, "penstock_managed_replicas", state="ready") == 2)
            until(lambda: metric(one, "penstock_endpoint_ready") == 2)
            done = load.outcomes["ok"]
            until(lambda: load.outcomes["ok"] > done + 100)
        assert load.failures == {}
        assert len(tritons_of(one)) == 2
        assert metric(one, "penstock_managed_ends_total", cause="hung") == 1
        replicas = json.loads(one.admin("/v1/fleet")[1])["pools"]["tritons"]["replicas"]
        (told,) = [each for each in replicas if each["ends"]]
        assert told["last_end"].startswith("it runs, but has not answered for 2 s")
        assert (told["state"], told["reason"]) == ("ready", None)
        assert "a Triton ended, did not come up, or hung" in one.log.read_text()


def test_a_crash_loop_leaves_the_other_pool_alone(repository: Path, tmp_path: Path) -> None:
    broken = {"managed": managed(tmp_path / "nowhere", backoff="50ms", max_backoff="200ms", crash_loop=3)}
    (tmp_path / "nowhere").mkdir()
    broken["managed"]["arguments"] += ["--no-such-option"]
    with gateway({"managed": managed(repository)}, pools={"broken": broken}) as one:
        until(lambda: metric(one, "penstock_managed_replicas", pool="broken", state="crash_loop") == 1)
        with Hammer(one.address, lambda: "simple") as load:
            until(lambda: load.outcomes["ok"] > 100)
        assert load.failures == {}
        assert metric(one, "penstock_managed_ends_total", pool="broken") >= 3
        assert metric(one, "penstock_managed_ends_total", pool="tritons") == 0
        log = one.log.read_text()
        assert "a Triton is in a crash loop" in log
        assert "no-such-option" in log
