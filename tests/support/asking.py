"""A cache in front of a pool, with calls in any dialect and a model that counts how often it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from policies.cache import Place, Policy, Spec
from routing.call import Call, Reply
from routing.endpoint import Endpoint
from routing.identity import Identity
from routing.match import GRPC, INFER, View
from routing.pool import Pool
from state import State as Store
from tests.support.policies import Counts, some_services
from tests.support.pools import State, a_call, a_pool, an_endpoint
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix
from transcoding.message import Buffer, InferReply, InferRequest, Tensor

REQUESTS = "penstock_cache_requests_total"


def framed(parts: Sequence[Buffer]) -> bytes:
    message = b"".join(parts)
    return prefix(len(message)) + message


def a_request(*numbers: int, **changes: Any) -> InferRequest:
    data = struct.pack(f"<{len(numbers)}i", *numbers)
    request = InferRequest("m", "", "", None, [Tensor("A", "INT32", (len(numbers),), data)])
    return msgspec.structs.replace(request, **changes)


def asks(
    request: InferRequest, *, over_grpc: bool = False, caller: Identity | None = None, control: str = "", **more: Any
) -> Call:
    """A call for this request, as REST gives it or as a gRPC message that nobody read."""
    call = a_call(request.model, request.version, **more)
    call.route = "r"
    call.message = (framed(oip_grpc.encode_request(request)),)
    call.infer = None if over_grpc else request
    call.caller = caller or Identity("ann", "acme")
    headers = {b"cache-control": control.encode()} if control else {}
    call.view = View(GRPC, INFER, request.model, headers)
    return call


def endpoint(address: str = "a:1", load: int = 1, **states: str) -> Endpoint:
    """One with model m in these versions, such as v1="READY"."""
    made = an_endpoint(address, {"m": {}})
    made.inventory = {"m": {name[1:]: State(state, load=load) for name, state in (states or {"v1": "READY"}).items()}}
    return made


class Model:
    """A handler that answers with the version of the call's pool after `seconds`, once `gate` is open, or with an
    error."""

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.calls: list[Call] = []
        self.cancelled = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.outputs = [Tensor("OUT", "INT32", (1,), b"\1\0\0\0")]

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        identifier = call.infer.id if call.infer is not None else ""
        reply = InferReply(call.model, call.version or self.version, identifier, None, self.outputs)
        return Reply(framed(oip_grpc.encode_reply(reply)))


class Cache:
    """A cache of its own, as one worker has it."""

    def __init__(self, spec: Spec, pool: Pool, model: Model, state: Store | None = None, **services: Any) -> None:
        self.counts = Counts()
        self.gauges = Counts()
        self.policy = Policy(spec, some_services(self.counts, state=state, gauges=self.gauges, **services))
        self.place: Place = self.policy.at(pool)
        self.pool = pool
        self.model = model

    async def ask(self, call: Call) -> InferReply:
        """What the client reads."""
        reply = await self.place(call, self.model)
        payload = bytes(reply.framed)
        assert int.from_bytes(payload[1:5], "big") == len(payload) - 5
        return oip_grpc.decode_reply(payload[5:])

    async def told(self, call: Call) -> str:
        """What the answer says of the cache."""
        await self.ask(call)
        return what(call)

    def counted(self, result: str) -> float:
        return self.counts[REQUESTS, "r", result]


def what(call: Call) -> str:
    """How the call was answered."""
    return dict(call.told or ())[b"penstock-cache"].decode()


def a_cache(*endpoints: Endpoint, model: Model | None = None, **options: Any) -> Cache:
    spec = {name: options.pop(name) for name in list(options) if name in Spec.__struct_fields__}
    return Cache(Spec(**{"jitter": 0.0, **spec}), a_pool(endpoints or [endpoint()]), model or Model(), **options)


@contextlib.asynccontextmanager
async def two_caches(valkey: Valkey, **options: Any) -> AsyncIterator[tuple[Cache, Cache]]:
    """Two workers' caches on one store and in front of one model, when they know their line."""
    async with a_client(at(valkey)) as one, a_client(at(valkey)) as other:
        model = Model()
        caches = [a_cache(model=model, state=state, store_timeout=0.5, **options) for state in (one, other)]
        for cache in caches:
            await ready(cache)
        yield caches[0], caches[1]
        await asyncio.sleep(0.05)


async def ready(cache: Cache) -> None:
    """Return when the second level is of use."""
    async with asyncio.timeout(10):
        while True:
            known = cache.place._served("m", "")
            assert known is not None
            if cache.policy.ledger.stamp(known[1], ()) is not None:
                return
            await asyncio.sleep(0.005)
