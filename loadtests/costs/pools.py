"""A pool with one endpoint that answers at once, and what it answers."""

from __future__ import annotations

from config.pools import Pick
from loadtests.costs.case import MODEL
from loadtests.simulate.gateway import NoChannel, Version
from routing.call import Call, Reply
from routing.endpoint import Endpoint
from routing.pickers import make
from routing.pool import Pool
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import encode_message
from transcoding.message import InferReply, Tensor

OUTPUTS = [Tensor(name, "INT32", (1, 16), b"\1\0\0\0" * 16) for name in ("OUTPUT0", "OUTPUT1")]
REPLY = Reply(encode_message(tuple(oip_grpc.encode_reply(InferReply(MODEL, "1", "", None, OUTPUTS)))))


async def answer(call: Call) -> Reply:
    """What stands behind a chain: it prepares the call as a pool does, and has the answer."""
    if call.prepare is not None:
        await call.prepare(POOL, call)
    return REPLY


class Channel(NoChannel):
    """Answers at once."""

    async def unary(self, call: Call) -> Reply:
        """The one answer."""
        return REPLY


def a_pool() -> Pool:
    """It has the model."""
    pool = Pool("p", make(Pick("round_robin")))
    endpoint = Endpoint("192.0.2.9:8001", Channel())
    endpoint.learn(True, True, "", {MODEL: {"1": Version(-1, load=1)}})
    pool.set_endpoints([endpoint])
    return pool


POOL = a_pool()
