"""Policies before what carries no tensors: questions about servers and models, changes, and models that nobody has.

Such a request passes the policies of identity and those that guard (`routing.chains`): those of its listener and, when
it names a model that a route takes, those of the route. Health is open unless the listener says `guard_health`, since
what asks for it seldom has credentials.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from routing.call import Call, Handler, Reply
from routing.match import View
from routing.pool import unknown_model
from routing.table import Variant
from transcoding.methods import Method
from transcoding.status import Code, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.listener import Listener
    from gateway.snapshot import Route

Fields = list[tuple[bytes, bytes]]
Work = Callable[[], Awaitable[bytes]]
"""What is to be done for a request, and gives the answer's message."""

HEALTH = frozenset({"ServerLive", "ServerReady", "Check", "Watch"})


def is_open(method: Method, listener: Listener) -> bool:
    """Whether what names no model passes this listener without being looked at."""
    return listener.snapshot.front.guards is None or (method.name in HEALTH and not listener.config.guard_health)


class Visit(NamedTuple):
    """A request as it comes to a listener: `view` gives what policies see of it; `told` is where they tell what the
    answer has to say."""

    listener: Listener
    view: Callable[[], View]
    told: Fields


async def admitted(visit: Visit, method: Method, model: str, version: str, deadline: float | None, work: Work) -> bytes:
    """What `work` gives, once the policies let the request pass. `model` and `version` are "" where it names none;
    `deadline` is in the loop's time. Raises `GatewayError`."""
    snapshot = visit.listener.snapshot
    route = snapshot.find(model) if model else None
    chain: Handler | None = snapshot.front.guards if route is None else route.guards
    if chain is None or (method.name in HEALTH and not visit.listener.config.guard_health):
        return await work()
    (first, *more) = [(model, version)] if route is None else targets(route, method, model, version)
    call = Call(method, *first, (), deadline=deadline, route="" if route is None else route.name)
    call.also = tuple(more)
    call.told = visit.told
    if snapshot.front.guards_view if route is None else route.guards_view:
        call.view = visit.view()
    answer = b""

    async def proceed(call: Call) -> Reply:
        nonlocal answer
        answer = await work()
        return Reply(b"")

    call.proceed = proceed
    try:
        await chain(call)
    except GatewayError as error:
        if error.code is not Code.NOT_FOUND or method.unknown_reply is None:
            raise
        answer = method.unknown_reply  # a model that is not for this caller is one that there is not
    finally:
        call.proceed = None  # nothing goes round in a circle
    return answer


def targets(route: Route, method: Method, model: str, version: str) -> list[tuple[str, str]]:
    """The models and versions that a request is about, which names these: all that the route sends to, or for a
    question that any endpoint may answer those that it sends requests to by themselves. A repository is asked for what
    the client named."""
    if method.api == "repository":
        return [(model, version)]
    if method.answer != "any":
        return list(dict.fromkeys((variant.model or model, version) for variant in route.table.variants))
    return list(dict.fromkeys(_resolved(variant, model, version) for variant in route.table.defaults))


def _resolved(variant: Variant, model: str, version: str) -> tuple[str, str]:
    try:
        return variant.resolve(model, version)[:2]
    except GatewayError:  # a label that the model has not, which whoever may ask is told by who answers
        return variant.model or model, version


async def unknown(visit: Visit, method: Method, model: str, deadline: float | None = None) -> NoReturn:
    """Refuse an inference of a model that no route takes, when the listener's policies would let it pass: a stranger is
    not told which models there are. Raises `GatewayError`."""

    async def refuse() -> bytes:
        raise unknown_model(model)

    await admitted(visit, method, model, "", deadline, refuse)
    raise unknown_model(model)
