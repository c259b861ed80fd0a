"""What chooses among several Tritons: Penstock and Envoy, each with two workers, by several rules each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from loadtests.exchange import Address
from loadtests.peers import ProcessPeer
from loadtests.peers.base import free_address
from loadtests.peers.envoy import EnvoyGrpc
from loadtests.peers.penstock import Penstock
from loadtests.routing.fleet import Endpoint

WORKERS = 2
_CONFIG = """
listen:
  - address: {address}
admin: {{address: "{admin}"}}
pools:
  tritons:
    kind: triton
    pick: {pick}
    endpoints:
{endpoints}
routes:
  - name: all
    match: {{model: "*"}}
    to: {{pool: tritons}}
"""


class Balancer(ProcessPeer):
    """A proxy before several Tritons. `reference`: it takes part in the first rounds only."""

    reference: ClassVar[bool] = False

    def __init__(self, endpoints: Sequence[Endpoint], scratch: Path) -> None:
        super().__init__(endpoints[0].backend, scratch)
        self.endpoints = endpoints


class _Penstock(Balancer, Penstock):
    pick: ClassVar[str]

    def command(self) -> list[str]:
        """Write the configuration, which says where the metrics are."""
        self._admin = free_address()
        places = [f'      - {{address: "{e.backend.grpc}", metrics: "{e.metrics}"}}' for e in self.endpoints]
        config = self.scratch / f"{self.name}.yaml"
        text = _CONFIG.format(address=self.address, admin=self._admin, pick=self.pick, endpoints="\n".join(places))
        config.write_text(text)
        return [*self.program(), "serve", str(config), "--workers", str(WORKERS)]


class PenstockExpectedWait(_Penstock):
    """By the work at each, also of others, and by what a request takes there."""

    name = "penstock_expected_wait"
    label = "Penstock, expected wait"
    pick = "expected_wait"


class PenstockRoundRobin(_Penstock):
    """Each in turn."""

    name = "penstock_round_robin"
    label = "Penstock, round robin"
    pick = "round_robin"
    reference = True


class _Envoy(Balancer, EnvoyGrpc):
    workers = WORKERS
    policy: ClassVar[dict[str, Any]]

    def upstreams(self) -> list[Address]:
        """All Tritons."""
        return [endpoint.backend.grpc for endpoint in self.endpoints]

    def balancing(self) -> dict[str, Any]:
        """The policy of this peer."""
        return self.policy


class EnvoyLeastRequest(_Envoy):
    """The one of two random ones that has fewer requests of this Envoy in flight."""

    name = "envoy_least_request"
    label = "Envoy, least request"
    policy: ClassVar = {"lb_policy": "LEAST_REQUEST"}


class EnvoyLeastOfAll(_Envoy):
    """As many random choices as there are endpoints."""

    name = "envoy_least_of_four"
    label = "Envoy, least request of four"
    policy: ClassVar = {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 4}}
    reference = True


class EnvoyRoundRobin(_Envoy):
    """Each in turn."""

    name = "envoy_round_robin"
    label = "Envoy, round robin"
    policy: ClassVar = {"lb_policy": "ROUND_ROBIN"}
    reference = True


BALANCERS: tuple[type[Balancer], ...] = (
    PenstockExpectedWait,
    EnvoyLeastRequest,
    EnvoyLeastOfAll,
    PenstockRoundRobin,
    EnvoyRoundRobin,
)
