"""Triton's REST API: from a whole HTTP request to a response.

Inference is `gateway.ingress.rest_infer`'s. Everything else becomes the gRPC method that does it and is answered by
`gateway.management`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.admission import Visit, admitted, unknown
from gateway.ingress.exchange import EVENTS, JSON, Request, Response
from gateway.ingress.generate import Generation
from gateway.ingress.listener import Listener
from gateway.ingress.peer import Peer
from gateway.ingress.refusal import error_response
from gateway.ingress.rest_infer import RestInference, body_of, view_of
from gateway.snapshot import Route
from routing.match import GENERATE, INFER
from transcoding.dialects import oip_paths
from transcoding.dialects.oip_management import OPERATIONS
from transcoding.dialects.oip_paths import Match
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError, invalid

if TYPE_CHECKING:
    from gateway.worker import DataPlane

MODEL_INFER = BY_NAME["ModelInfer"]
log = logging.getLogger(__name__)


class RestService:
    """Serves REST requests of all listeners of a worker."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._loop = plane.loop

    async def serve(self, request: Request, listener: Listener, peer: Peer) -> Response:
        """The response to a request of this client; never raises but on cancellation."""
        match = match_of(request)
        try:
            if type(match) is not Match:
                raise match  # type: ignore[misc]  # a NamedTuple or an error
            if match.api not in listener.apis:
                raise GatewayError(Code.NOT_FOUND, "Not Found")
            if match.operation == "infer":
                found = listener.snapshot.find(match.model)
                if found is not None:
                    return await RestInference(self._plane, found, match, request, listener, peer).answer()
            return await self._other(match, request, listener, peer)
        except GatewayError as error:
            return error_response(error)
        except Exception:
            log.exception("request failed: %s", match)
            return error_response(GatewayError(Code.INTERNAL, "internal error", fault=Fault.GATEWAY))

    async def _other(self, match: Match, request: Request, listener: Listener, peer: Peer) -> Response:
        method = INFER if match.operation == "infer" else GENERATE if match.api == "inference" else match.api
        visit = Visit(listener, lambda: view_of(request, listener, peer, method, match.model), [])
        try:
            if match.operation in ("infer", "generate", "generate_stream"):
                found = listener.snapshot.find(match.model)
                if found is not None:
                    return await self._generate(found, match, request, listener, peer)
                await unknown(visit, MODEL_INFER, match.model)
            response = await self._manage(match, request, visit)
        except GatewayError as error:
            response = error_response(error)
        if visit.told:
            response.fields = (*response.fields, *visit.told)
        return response

    async def _manage(self, match: Match, request: Request, visit: Visit) -> Response:
        listener, operation = visit.listener, OPERATIONS[match.operation]
        limit = listener.deadlines.request
        deadline = None if limit is None else self._loop.time() + limit

        async def work() -> bytes:
            message = operation.encode(match, await body_of(request, listener))
            return await self._plane.management.answer(operation.method, message, deadline)

        answer = await admitted(visit, operation.method, match.model, match.version, deadline, work)
        body = operation.render(answer)
        return Response(200, (body,), JSON if body else b"")

    # generate ---------------------------------------------------------------------------------------------------------

    async def _generate(self, route: Route, match: Match, request: Request, listener: Listener, peer: Peer) -> Response:
        if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise invalid("Unsupported content-encoding, only 'identity' is supported.")
        metadata = self._plane.forwarding.fragment(request, listener.config.forward_headers)
        view = view_of(request, listener, peer, GENERATE, match.model)
        generation = Generation(self._plane, route, match, request.body, metadata, view)
        try:
            await generation.start(listener.deadlines.request)
            if match.operation == "generate":
                response = Response(200, (await generation.single(),))
            else:
                response = Response(200, content_type=EVENTS, stream=await generation.events())
        except GatewayError as error:
            response = error_response(error)
        if listener.tells:
            response.told = generation.told
        if generation.call.told:
            response.fields = (*response.fields, *generation.call.told)
        return response


def match_of(request: Request) -> Match | GatewayError:
    """What a request's target asks for, kept with a head that repeats."""
    memo = request.memo
    if memo is None:
        return oip_paths.route(request.method, request.target)
    match = memo.match
    if type(match) is not Match:
        found = oip_paths.route(request.method, request.target)
        if type(found) is not Match:
            return found
        match = memo.match = found
    return match
