"""Pools as they are written."""

from __future__ import annotations

import msgspec
import pytest

from config.load import parse
from config.pools import DesiredModel, Discover, Endpoint, Managed, Models, Pick, Pool
from config.schema import Config
from tests.support.configurations import text_with


def pool(written: str) -> Pool:
    """The pool of this text, as it arrives in another process."""
    config = parse(text_with(pools=f"{{main: {{{written}}}}}"), "f")
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config)
    assert copy == config
    return copy.pools["main"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("endpoints: [a:1]", Pool((Endpoint("a:1"),))),
        (
            "endpoints: [{address: a:1, metrics: a:9, weight: 50%}]",
            Pool((Endpoint("a:1", "a:9", 0.5),)),
        ),
        ("discover: {dns: a:1}", Pool(discover=Discover("a:1"))),
        (
            "discover: {srv: _grpc._tcp.a, nameserver: 10.0.0.1:53}",
            Pool(discover=Discover(srv="_grpc._tcp.a", nameserver="10.0.0.1:53")),
        ),
        (
            "managed: {repository: m, gpus: [0, '1,2'], replicas: 2, environment: {A: 1, B: ''}}",
            Pool(managed=Managed(("m",), 2, environment={"A": "1", "B": ""}, gpus=("0", "1,2"))),
        ),
        (
            "managed: {repository: [a, b], command: [nice, tritonserver], arguments: [--log-verbose=1]}",
            Pool(managed=Managed(("a", "b"), command=("nice", "tritonserver"), arguments=("--log-verbose=1",))),
        ),
        ("endpoints: [a:1], pick: round_robin", Pool((Endpoint("a:1"),), pick=Pick("round_robin"))),
        (
            "endpoints: [a:1], pick: {kind: hash_ring, by: header:X-User, bound: 1.5}",
            Pool((Endpoint("a:1"),), pick=Pick("hash_ring", "header:x-user", 1.5)),
        ),
        (
            "endpoints: [a:1], models: {mode: explicit, load: [a, {name: b, config: '{}'}]}",
            Pool((Endpoint("a:1"),), models=Models("explicit", (DesiredModel("a"), DesiredModel("b", "{}")))),
        ),
    ],
)
def test_pools(written: str, expected: Pool) -> None:
    assert pool(written) == expected
