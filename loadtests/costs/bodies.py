"""What looks at tensors or headers, and answers that were computed before."""

from __future__ import annotations

from typing import Any

from loadtests.costs.case import MODEL, Case, Cases, Stage, a_call, a_policy, again, services
from loadtests.costs.pools import a_pool
from policies.cache import Policy as Cache
from routing.call import Call
from routing.identity import Identity
from routing.pool import Pool
from routing.reading import request_of
from transcoding.message import ModelSignature

SIGNATURE = ModelSignature(
    MODEL, "1", 8, False, dict.fromkeys(("INPUT0", "INPUT1"), ("INT32", (-1, 16))),
    dict.fromkeys(("OUTPUT0", "OUTPUT1"), ("INT32", (-1, 16))),
)  # fmt: skip
Options = dict[str, Any]
ALICE = Identity("alice", "acme", frozenset({"infer"}), "api_key")


async def cases(stage: Stage) -> Cases:
    """Each with tensors that were read from JSON, and with those of a gRPC message where that is another thing."""
    over_grpc, over_rest = again(a_call(caller=ALICE)), again(_read(a_call(caller=ALICE)))
    cache = a_policy("cache", shared_store=False)
    assert isinstance(cache, Cache)
    place = cache.at(a_pool())
    yield Case("cache", "hit", place, over_grpc)
    passed = again(a_call({"cache-control": "no-store"}, ALICE))
    yield Case("cache", "passed by, as the client wants", place, passed)
    validate = a_policy("validate", services(signature=_signature))
    yield Case("validate", "tensors of JSON", validate, over_rest)
    yield Case("validate", "a gRPC message", validate, over_grpc)
    yield Case("bounds", "bytes", a_policy("bounds", max_bytes=1_000_000), over_grpc)
    bounds = a_policy("bounds", max_bytes=1_000_000, max_batch=8, max_elements=1_000_000, max_tensors=8)
    yield Case("bounds", "bytes and tensors of JSON", bounds, over_rest)
    yield Case("bounds", "bytes and a gRPC message", bounds, over_grpc)
    fixed: Options = {"request": {"set": {"x-team": "vision"}}, "answer": {"set": {"x-served-by": "penstock"}}}
    yield Case("headers", "one set each way", a_policy("headers", **fixed), over_rest)
    named: Options = {"request": {"set": {"x-tenant": "{tenant}"}}}
    yield Case("headers", "the tenant", a_policy("headers", **named), over_rest)
    forward: Options = {"request": {"forward": ["x-trace-*"]}}
    traced = again(a_call({"x-trace-id": "0af7651916cd43dd8448eb211c80319c"}))
    yield Case("headers", "one forwarded", a_policy("headers", **forward), traced)


def _read(call: Call) -> Call:
    request_of(call)
    return call


async def _signature(pool: Pool, model: str, version: str, deadline: float | None) -> ModelSignature:
    return SIGNATURE
