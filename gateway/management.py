"""Everything but inference: answered here, by any endpoint, by all of them merged, or by each of them in turn.

One client asks one gateway and sees one server: metadata comes from any endpoint that has the model, statistics are
summed, a load or unload reaches every endpoint of the pool and is in the inventory of all workers before the client
hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from routing.call import Call
from routing.endpoint import Endpoint
from routing.pool import Pool
from transcoding.aggregate import merge
from transcoding.dialects.oip_grpc import set_version
from transcoding.dialects.oip_messages import message_class
from transcoding.dialects.repository_json import check_load
from transcoding.grpc_framing import encode_message
from transcoding.health import check
from transcoding.methods import Method
from transcoding.reflection import SERVICES
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.worker import DataPlane

QUESTION_TIMEOUT = 30.0
CHANGE_TIMEOUT = 300.0
"""Seconds for a worker's answer. Loading a large model takes minutes; Triton asks its backends for nothing else."""
READY, NOT_READY = (message_class("ModelReadyResponse")(ready=ready).SerializeToString() for ready in (True, False))


class Management:
    """Answers the methods whose requests carry no tensors."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def answer(self, method: Method, message: bytes, deadline: float | None = None) -> bytes:
        """The reply message, by `deadline` in the loop's time or an error. Raises `GatewayError`."""
        answer = method.answer_for(message)
        if answer == "gateway":
            return self._own(method, message)
        timeout = CHANGE_TIMEOUT if answer == "broadcast" else QUESTION_TIMEOUT
        limit = self._plane.loop.time() + timeout
        question = Question(
            method, *method.target(message), message, limit if deadline is None else min(limit, deadline)
        )
        if method.name == "ModelReady":
            return await self._model_ready(question)
        if answer == "any":
            return await self._any(question)
        if answer == "merge":
            return merge(method.name, await self._ask_all(question))
        return await self._broadcast(question)

    def _own(self, method: Method, message: bytes) -> bytes:
        if method.name == "Check":
            return check(message, SERVICES, self._plane.serving)
        if method.name == "ServerLive":
            return bytes(message_class("ServerLiveResponse")(live=True).SerializeToString())
        return bytes(message_class("ServerReadyResponse")(ready=self._plane.serving).SerializeToString())

    async def _model_ready(self, question: Question) -> bytes:
        """As Triton up to 2.51 says it: "not ready" is an answer, not an error; only a malformed version is one."""
        try:
            return await self._any(question)
        except GatewayError as error:
            if error.code in (Code.NOT_FOUND, Code.UNAVAILABLE):
                return bytes(NOT_READY)
            raise

    async def _any(self, question: Question) -> bytes:
        snapshot = self._plane.snapshot
        if question.model:
            route = snapshot.dispatch(question.model)
            return bytes((await route.pool.forward(question.pinned(route.version).call())).payload)
        error = nothing_live()
        for pool in snapshot.pools.values():
            try:
                return bytes((await pool.forward(question.call())).payload)
            except GatewayError as failure:
                error = failure
        raise error

    async def _ask_all(self, question: Question) -> list[bytes]:
        model, version = question.model, question.version
        pools = self._pools(model)
        endpoints = distinct(
            each for pool in pools for each in (pool.candidates(model, version) if model else pool.live)
        )
        if not endpoints:
            raise pools[0].why_not(model, version) if model else nothing_live()
        replies = await self._send(endpoints, question)
        good = [reply for reply in replies if isinstance(reply, bytes)]
        return good or [fail(replies)]

    async def _broadcast(self, question: Question) -> bytes:
        if question.method.name == "RepositoryModelLoad":
            check_load(question.message)
        endpoints = distinct(each for pool in self._pools(question.model) for each in pool.live)
        if not endpoints:
            raise nothing_live()
        try:
            replies = await self._send(endpoints, question)
        finally:
            if question.method.api == "repository":
                self._plane.signatures.forget()
                await self._refresh({endpoint.address for endpoint in endpoints})
        if any(isinstance(reply, GatewayError) for reply in replies):
            fail(replies)
        return next(reply for reply in replies if isinstance(reply, bytes))

    async def _refresh(self, addresses: set[str]) -> None:
        """Have the inventory read anew of every pool that these endpoints are in."""
        pools = self._plane.snapshot.pools.values()
        touched = [pool.name for pool in pools if any(each.address in addresses for each in pool.endpoints)]
        await asyncio.gather(*map(self._plane.refresh, touched))

    async def _send(self, endpoints: Iterable[Endpoint], question: Question) -> list[bytes | GatewayError]:
        return await asyncio.gather(*(ask_one(endpoint, question.call()) for endpoint in endpoints))

    def _pools(self, model: str) -> list[Pool]:
        """The pool of a model's route, or all of them. Raises `GatewayError` NOT_FOUND for a model without a route."""
        snapshot = self._plane.snapshot
        return [snapshot.dispatch(model).pool] if model else list(snapshot.pools.values())


class Question(NamedTuple):
    """A request without tensors: what it names and by when, in the loop's time, an answer is due."""

    method: Method
    model: str
    version: str
    message: bytes
    deadline: float

    def pinned(self, version: str) -> Question:
        """With the version that a route sends to, where the client named none. Field 2 names it in each of these
        requests, as in ModelInferRequest."""
        if not version or self.version or not self.method.version_field:
            return self
        return self._replace(version=version, message=b"".join(set_version(self.message, version)))

    def call(self) -> Call:
        """The call to one endpoint."""
        framed = (encode_message((self.message,)),)
        return Call(self.method, self.model, self.version, framed, deadline=self.deadline)


async def ask_one(endpoint: Endpoint, call: Call) -> bytes | GatewayError:
    """The answer of this endpoint, or its error."""
    try:
        return bytes((await endpoint.channel.unary(call)).payload)
    except GatewayError as error:
        return error


def distinct(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Each address once: two pools may have the same Triton."""
    return list({endpoint.address: endpoint for endpoint in endpoints}.values())


def fail(replies: Iterable[bytes | GatewayError]) -> NoReturn:
    """Raise the first error."""
    raise next(reply for reply in replies if isinstance(reply, GatewayError))


def nothing_live() -> GatewayError:
    """No endpoint at all answers."""
    return GatewayError(Code.UNAVAILABLE, "no endpoint is live", fault=Fault.WORKER, retry_after=1.0)
