"""The servers that are measured side by side, one module for each kind."""

from __future__ import annotations

from loadtests.peers.base import Backend, Peer, PeerError, ProcessPeer
from loadtests.peers.direct import DirectGrpc, DirectRest
from loadtests.peers.envoy import EnvoyGrpc, EnvoyPlain, EnvoyTranscoder
from loadtests.peers.envoy_policies import (
    EnvoyGrpcPolicies,
    EnvoyTranscoderPolicies,
    EnvoyTranscoderPoliciesDefault,
)
from loadtests.peers.nginx import NginxCache, NginxGrpc, NginxPlain
from loadtests.peers.obvious import Obvious
from loadtests.peers.penstock import Penstock, PenstockCache, PenstockPure
from loadtests.peers.penstock_policies import (
    PenstockPolicies,
    PenstockPoliciesJwt,
    PenstockPoliciesLocal,
    PenstockPoliciesPure,
)

__all__ = ["PEERS", "Backend", "Peer", "PeerError", "ProcessPeer"]

_KINDS: tuple[type[Peer], ...] = (
    Penstock,
    PenstockPure,
    PenstockCache,
    DirectRest,
    DirectGrpc,
    NginxPlain,
    NginxCache,
    NginxGrpc,
    EnvoyPlain,
    EnvoyGrpc,
    EnvoyTranscoder,
    PenstockPolicies,
    PenstockPoliciesPure,
    PenstockPoliciesLocal,
    PenstockPoliciesJwt,
    EnvoyTranscoderPolicies,
    EnvoyTranscoderPoliciesDefault,
    EnvoyGrpcPolicies,
    Obvious,
)
PEERS: dict[str, type[Peer]] = {kind.name: kind for kind in _KINDS}
