"""nginx and Envoy in front of a gateway: the benchmark's peers, with the gateway in Triton's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from loadtests.exchange import Address
from loadtests.peers.base import Backend, Peer
from loadtests.peers.envoy import EnvoyGrpc
from loadtests.peers.nginx import NginxGrpc, NginxPlain


class EnvoyHttp2(EnvoyGrpc):
    """HTTP/2 to the gateway whatever the client speaks. `http2` are fields of Envoy's Http2ProtocolOptions.

    On a new connection Envoy opens up to 1024 streams before it knows how many the gateway allows. It must be told to
    send those again that were refused, here as with any server that has a limit.
    """

    name = "envoy_http2"
    http2: ClassVar[dict[str, Any]] = {}

    def command(self) -> list[str]:
        """Envoy's bootstrap, with these options for its upstream."""
        command = super().command()
        file = self.scratch / f"{self.name}.json"
        document = json.loads(file.read_text())
        [cluster] = document["static_resources"]["clusters"]
        [options] = cluster["typed_extension_protocol_options"].values()
        options["explicit_http_config"]["http2_protocol_options"] = self.http2
        [listener] = document["static_resources"]["listeners"]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["route_config"]["virtual_hosts"][0]["retry_policy"] = {"retry_on": "refused-stream", "num_retries": 5}
        file.write_text(json.dumps(document))
        return command


class EnvoyNarrow(EnvoyHttp2):
    """The smallest windows that Envoy knows, few streams, no header table, and pings."""

    name = "envoy_narrow"
    http2: ClassVar[dict[str, Any]] = {
        "initial_stream_window_size": 65_535,
        "initial_connection_window_size": 65_535,
        "max_concurrent_streams": 3,
        "hpack_table_size": 0,
        "connection_keepalive": {"interval": "0.1s", "timeout": "0.5s"},
    }


FRONTS: dict[str, type[Peer]] = {kind.name: kind for kind in (NginxPlain, NginxGrpc, EnvoyHttp2, EnvoyNarrow)}


@contextmanager
def front(name: str, gateway: str, scratch: Path) -> Iterator[str]:
    """The address of the proxy, while it runs before the gateway at this address. Skips where it is not installed."""
    kind = FRONTS[name]
    missing = kind.missing()
    if missing is not None:
        pytest.skip(missing)
    host, _, port = gateway.rpartition(":")
    address = Address(host, int(port))
    with kind(Backend(address, address, "", 0), scratch) as peer:
        yield str(peer.address)
