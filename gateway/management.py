"""Everything but inference: answered here, by any endpoint, by all of them merged, or by each of them in turn.

One client asks one gateway and sees one server: metadata comes from any endpoint that has the model, statistics are
summed, a load or unload reaches every endpoint of the pool and is in the inventory of all workers before the client
hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from routing.call import Call
from routing.endpoint import Endpoint
from routing.pool import Pool
from transcoding.aggregate import merge
from transcoding.dialects.oip_messages import message_class
from transcoding.dialects.repository_json import check_load
from transcoding.grpc_framing import encode_message
from transcoding.health import check
from transcoding.message import Buffer
from transcoding.methods import Method
from transcoding.reflection import SERVICES
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.worker import DataPlane

TIMEOUT = 300.0
READY, NOT_READY = (message_class("ModelReadyResponse")(ready=ready).SerializeToString() for ready in (True, False))


class Management:
    """Answers the methods whose requests carry no tensors."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def answer(self, method: Method, message: bytes) -> bytes:
        """The reply message. Raises `GatewayError`."""
        answer = method.answer_for(message)
        if answer == "gateway":
            return self._own(method, message)
        model, version = method.target(message)
        if method.name == "ModelReady":
            return await self._model_ready(method, model, version, message)
        if answer == "any":
            return await self._any(method, model, version, message)
        if answer == "merge":
            return merge(method.name, await self._ask_all(method, model, version, message))
        return await self._broadcast(method, model, message)

    def _own(self, method: Method, message: bytes) -> bytes:
        if method.name == "Check":
            return check(message, SERVICES, self._plane.serving)
        if method.name == "ServerLive":
            return bytes(message_class("ServerLiveResponse")(live=True).SerializeToString())
        return bytes(message_class("ServerReadyResponse")(ready=self._plane.serving).SerializeToString())

    async def _model_ready(self, method: Method, model: str, version: str, message: bytes) -> bytes:
        """As Triton up to 2.51 says it: "not ready" is an answer, not an error; only a malformed version is one."""
        try:
            return await self._any(method, model, version, message)
        except GatewayError as error:
            if error.code in (Code.NOT_FOUND, Code.UNAVAILABLE):
                return NOT_READY
            raise

    async def _any(self, method: Method, model: str, version: str, message: bytes) -> bytes:
        call = self._call(method, model, version, message)
        error: GatewayError | None = None
        for pool in self._pools(model):
            try:
                return bytes((await pool.forward(call)).payload)
            except GatewayError as failure:
                error = failure
        raise error or nothing_live()

    async def _ask_all(self, method: Method, model: str, version: str, message: bytes) -> list[bytes]:
        endpoints = [
            each for pool in self._pools(model) for each in (pool.candidates(model, version) if model else pool.live)
        ]
        if not endpoints:
            pools = self._pools(model)
            raise pools[0].why_not(model, version) if model and pools else nothing_live()
        replies = await self._send(endpoints, method, model, version, message)
        good = [reply for reply in replies if isinstance(reply, bytes)]
        if not good:
            raise next(reply for reply in replies if isinstance(reply, GatewayError))
        return good

    async def _broadcast(self, method: Method, model: str, message: bytes) -> bytes:
        check_load(message) if method.name == "RepositoryModelLoad" else None
        pools = self._pools(model)
        endpoints = [each for pool in pools for each in pool.live]
        if not endpoints:
            raise nothing_live()
        try:
            replies = await self._send(endpoints, method, model, "", message)
        finally:
            if method.api == "repository":
                self._plane.signatures.forget()
                for pool in pools:
                    await self._plane.refresh(pool.name)
        for reply in replies:
            if isinstance(reply, GatewayError):
                raise reply
        return next(reply for reply in replies if isinstance(reply, bytes))

    async def _send(
        self, endpoints: Iterable[Endpoint], method: Method, model: str, version: str, message: bytes
    ) -> list[bytes | GatewayError]:
        calls = (self._one(endpoint, self._call(method, model, version, message)) for endpoint in endpoints)
        return await asyncio.gather(*calls)

    async def _one(self, endpoint: Endpoint, call: Call) -> bytes | GatewayError:
        try:
            return bytes((await endpoint.channel.unary(call)).payload)
        except GatewayError as error:
            return error

    def _call(self, method: Method, model: str, version: str, message: bytes) -> Call:
        framed: Sequence[Buffer] = (encode_message((message,)),)
        return Call(method, model, version, framed, deadline=self._plane.loop.time() + TIMEOUT)

    def _pools(self, model: str) -> list[Pool]:
        """The pool of a model's route, or all of them. Raises `GatewayError` NOT_FOUND for a model without a route."""
        snapshot = self._plane.snapshot
        return [snapshot.dispatch(model).pool] if model else list(snapshot.pools.values())


def nothing_live() -> GatewayError:
    """No endpoint at all answers."""
    return GatewayError(Code.UNAVAILABLE, "no endpoint is live", fault=Fault.WORKER, retry_after=1.0)
