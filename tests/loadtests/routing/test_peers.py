"""What chooses: all Tritons in each configuration, the rule of the peer, accepted by the program itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from config.load import load
from config.pools import Endpoint as Configured
from loadtests.exchange import Address
from loadtests.peers import Backend
from loadtests.routing.fleet import Endpoint
from loadtests.routing.peers import BALANCERS, Balancer

ENDPOINTS = [
    Endpoint(Backend(Address("127.0.0.1", 10 + i), Address("127.0.0.1", 20 + i), "0", 1), Address("127.0.0.1", 30 + i))
    for i in range(4)
]
POLICIES = {
    "envoy_least_request": ("LEAST_REQUEST", None),
    "envoy_least_of_four": ("LEAST_REQUEST", {"choice_count": 4}),
    "envoy_round_robin": ("ROUND_ROBIN", None),
}


def of(vendor: str) -> list[type[Balancer]]:
    return [kind for kind in BALANCERS if kind.name.startswith(vendor)]


@pytest.mark.parametrize("kind", of("envoy"), ids=lambda kind: kind.name)
def test_envoy(kind: type[Balancer], tmp_path: Path) -> None:
    pytest.importorskip("envoy")
    command = kind(ENDPOINTS, tmp_path).command()
    assert command[command.index("--concurrency") + 1] == "2"
    [cluster] = json.loads((tmp_path / f"{kind.name}.json").read_text())["static_resources"]["clusters"]
    places = [each["endpoint"]["address"] for each in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]]
    assert [place["socket_address"]["port_value"] for place in places] == [20, 21, 22, 23]
    assert (cluster["lb_policy"], cluster.get("least_request_lb_config")) == POLICIES[kind.name]
    checked = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("kind", of("penstock"), ids=lambda kind: kind.name)
def test_penstock(kind: type[Balancer], tmp_path: Path) -> None:
    command = kind(ENDPOINTS, tmp_path).command()
    assert command[-2:] == ["--workers", "2"]
    [pool] = load(tmp_path / f"{kind.name}.yaml").pools.values()
    assert f"penstock_{pool.pick.kind}" == kind.name
    assert pool.endpoints == tuple(Configured(f"127.0.0.1:{20 + i}", f"127.0.0.1:{30 + i}") for i in range(4))


def test_only_the_two_that_are_compared_take_part_in_all_rounds() -> None:
    assert [kind.name for kind in BALANCERS if not kind.reference] == ["penstock_expected_wait", "envoy_least_request"]
