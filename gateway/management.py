"""Everything but inference: answered here, by any endpoint, by all of them merged, or by each of them in turn.

One client asks one gateway and sees one server: metadata comes from any endpoint that has the model, statistics are
summed, a load or unload reaches every endpoint of the pool and is in the inventory of all workers before the client
hears of it. Where a route has several targets, the model's metadata is that of the first that has it, it is ready when
any target that takes requests has it ready, and statistics and changes go to all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from routing.call import Call
from routing.endpoint import Endpoint
from routing.pool import Pool, unknown_model
from routing.table import Variant
from transcoding.aggregate import merge
from transcoding.dialects.oip_grpc import set_version
from transcoding.dialects.oip_messages import message_class
from transcoding.dialects.repository_json import check_load
from transcoding.grpc_framing import encode_message
from transcoding.health import check
from transcoding.methods import Method
from transcoding.protobuf_wire import text
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
        """Is the model ready at any of the targets that take requests by themselves? As Triton up to 2.51 says it: "not
        ready" is an answer, not an error; only a malformed version is one."""
        answer = NOT_READY
        for ask in self._asks(question, rules=False):
            try:
                answer = await ask()
            except GatewayError as error:
                if error.code not in (Code.NOT_FOUND, Code.UNAVAILABLE):
                    raise
            if answer == READY:
                break
        return bytes(answer)

    async def _any(self, question: Question) -> bytes:
        """The first answer; when there is none, what was wrong where requests for the model go, or at the last pool."""
        errors = []
        for ask in self._asks(question):
            try:
                return await ask()
            except GatewayError as error:
                errors.append(error)
                if error.code is Code.INVALID_ARGUMENT:
                    break
        if errors:
            raise errors[0 if question.model else -1]
        raise unknown_model(question.model) if question.model else nothing_live()

    def _asks(self, question: Question, rules: bool = True) -> list[Callable[[], Awaitable[bytes]]]:
        """Who may answer, those first that take requests by themselves, then with `rules` those of rules; none for a
        model without a route."""
        snapshot = self._plane.snapshot
        if not question.model:
            return [partial(ask_pool, pool, question) for pool in snapshot.pools.values()]
        route = snapshot.find(question.model)
        if route is None:
            return []
        variants = route.table.variants if rules else route.table.defaults
        return [partial(ask_variant, variant, question) for variant in variants]

    async def _ask_all(self, question: Question) -> list[bytes]:
        targets = self._targets(question)
        asked = distinct(
            (endpoint, each)
            for pool, each in targets
            for endpoint in (pool.candidates(each.model, each.version) if each.model else pool.live)
        )
        if not asked:
            pool, each = targets[0]
            raise pool.why_not(each.model, each.version) if each.model else nothing_live()
        replies = await self._send(asked)
        good = [reply for reply in replies if isinstance(reply, bytes)]
        return good or [fail(replies)]

    async def _broadcast(self, question: Question) -> bytes:
        if question.method.name == "RepositoryModelLoad":
            check_load(question.message)
        asked = distinct((endpoint, each) for pool, each in self._targets(question) for endpoint in pool.live)
        if not asked:
            raise nothing_live()
        try:
            replies = await self._send(asked)
        finally:
            if question.method.api == "repository":
                self._plane.signatures.forget()
                loaded = question.model if question.method.name == "RepositoryModelLoad" else ""
                await self._refresh({endpoint.address for endpoint, _ in asked}, loaded)
        if any(isinstance(reply, GatewayError) for reply in replies):
            fail(replies)
        return next(reply for reply in replies if isinstance(reply, bytes))

    async def _refresh(self, addresses: set[str], loaded: str) -> None:
        """Have the inventory read anew of every pool that these endpoints are in, where this model was loaded."""
        pools = self._plane.snapshot.pools.values()
        touched = [pool.name for pool in pools if any(each.address in addresses for each in pool.endpoints)]
        await asyncio.gather(*(self._plane.refresh(pool, loaded=loaded) for pool in touched))

    async def _send(self, asked: Iterable[Asked]) -> list[bytes | GatewayError]:
        return await asyncio.gather(*(ask_one(endpoint, question.call()) for endpoint, question in asked))

    def _targets(self, question: Question) -> list[tuple[Pool, Question]]:
        """Each pool that a model's route sends to, and what to ask there: of the model that it has in place of the
        client's, unless the repository itself is meant. All pools for a question about no model. Raises `GatewayError`
        NOT_FOUND for a model without a route."""
        snapshot = self._plane.snapshot
        if not question.model:
            return [(pool, question) for pool in snapshot.pools.values()]
        variants = snapshot.dispatch(question.model).table.variants
        if question.method.api == "repository":
            return list(dict.fromkeys((variant.pool, question) for variant in variants))
        return list(dict.fromkeys((variant.pool, question.about(variant.model)) for variant in variants))


class Question(NamedTuple):
    """A request without tensors: what it names and by when, in the loop's time, an answer is due."""

    method: Method
    model: str
    version: str
    message: bytes
    deadline: float

    def about(self, model: str) -> Question:
        """The same of another model, unless `model` is ""."""
        if not model or model == self.model:
            return self
        return self._replace(model=model, message=self.message + text(self.method.model_field << 3 | 2, model))

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


Asked = tuple[Endpoint, Question]


async def ask_pool(pool: Pool, question: Question) -> bytes:
    """The answer of an endpoint of this pool. Raises `GatewayError`."""
    return bytes((await pool.forward(question.call())).payload)


async def ask_variant(variant: Variant, question: Question) -> bytes:
    """The answer of an endpoint of the variant, about its model and version. Raises `GatewayError`."""
    _, version, _ = variant.resolve(question.model, question.version)
    return await ask_pool(variant.pool, question.about(variant.model).pinned(version))


async def ask_one(endpoint: Endpoint, call: Call) -> bytes | GatewayError:
    """The answer of this endpoint, or its error."""
    try:
        return bytes((await endpoint.channel.unary(call)).payload)
    except GatewayError as error:
        return error


def distinct(asked: Iterable[Asked]) -> list[Asked]:
    """Each question once per address: two pools may have the same Triton."""
    return list({(endpoint.address, question): (endpoint, question) for endpoint, question in asked}.values())


def fail(replies: Iterable[bytes | GatewayError]) -> NoReturn:
    """Raise the first error."""
    raise next(reply for reply in replies if isinstance(reply, GatewayError))


def nothing_live() -> GatewayError:
    """No endpoint at all answers."""
    return GatewayError(Code.UNAVAILABLE, "no endpoint is live", fault=Fault.WORKER, retry_after=1.0)
