"""Triton's REST API: from a whole HTTP request to a response.

Inference goes JSON → hub → protobuf bytes → route → protobuf bytes → hub → JSON, with binary tensors as views.
Everything else becomes the gRPC method that does it and is answered by `gateway.management`.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.guard import classified
from gateway.ingress.aside import inflate_aside
from gateway.ingress.exchange import EVENTS, JSON, OCTETS, Field, Request, Response
from gateway.ingress.generate import Generation, framed, sequence_of
from gateway.ingress.grpc_message import too_much_waits
from gateway.ingress.listener import Listener
from gateway.ingress.rest_raw import RawRequest
from gateway.snapshot import code_of
from routing.call import Call
from routing.match import GENERATE, INFER, REST, View
from routing.table import NOTHING_TOLD
from transcoding.compression import choose_encoding, deflate, inflate
from transcoding.dialects import oip_grpc, oip_json
from transcoding.dialects.oip_management import OPERATIONS
from transcoding.dialects.oip_paths import Match, MethodNotAllowed, route
from transcoding.message import Buffer, Content, InferRequest, Parameters
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError, invalid

if TYPE_CHECKING:
    from gateway.worker import DataPlane
    from routing.table import Variant

log = logging.getLogger(__name__)

MODEL_INFER = BY_NAME["ModelInfer"]
LENGTH = b"inference-header-content-length"


class RestService:
    """Serves REST requests of all listeners of a worker."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._loop = plane.loop

    async def serve(self, request: Request, listener: Listener, address: str) -> Response:
        """The response to a request of the client at this address; never raises but on cancellation."""
        match = match_of(request)
        try:
            if type(match) is not Match:
                raise match  # type: ignore[misc]  # a NamedTuple or an error
            if match.api not in listener.apis:
                raise GatewayError(Code.NOT_FOUND, "Not Found")
            if match.operation == "infer":
                return await self._infer(match, request, listener, address)
            return await self._other(match, request, listener, address)
        except GatewayError as error:
            return error_response(error)
        except Exception:
            log.exception("request failed: %s", match)
            return error_response(GatewayError(Code.INTERNAL, "internal error", fault=Fault.GATEWAY))

    async def _other(self, match: Match, request: Request, listener: Listener, address: str) -> Response:
        limit = listener.deadlines.request
        if match.operation in ("generate", "generate_stream"):
            return await self._generate(match, request, listener, address)
        operation = OPERATIONS[match.operation]
        message = operation.encode(match, await body_of(request, listener))
        deadline = None if limit is None else self._loop.time() + limit
        body = operation.render(await self._plane.management.answer(operation.method, message, deadline))
        return Response(200, (body,), JSON if body else b"")

    # inference --------------------------------------------------------------------------------------------------------

    async def _infer(self, match: Match, request: Request, listener: Listener, address: str) -> Response:
        headers = request.headers
        plane = self._plane
        route = plane.snapshot.dispatch(match.model)
        variant = route.only
        route.in_flight.value += 1
        started = perf_counter()
        code = inflated = 0
        told = NOTHING_TOLD
        call: Call | None = None
        try:
            deadline = route.deadline(self._loop, listener.deadlines.request)
            body = request.body
            if b"content-encoding" in headers:
                body = await body_of(request, listener)
                inflated = hold(listener, len(body))
            length = json_length(headers, body) if LENGTH in headers or not body else None
            infer = oip_json.decode_request(body, length, match.model, match.version) if length != 0 else None
            sequence = "" if infer is None else sequence_of(infer)
            model, version = match.model, match.version
            if variant is None or sequence:
                view = View(REST, INFER, model, headers, address, sequence)
                variant, model, version, told = route.resolve(view, version, parameters_of(infer))
            else:
                told = variant.told
                if variant.alters:
                    model, version, told = variant.resolve(model, version)
            call = Call(
                MODEL_INFER,
                model,
                version,
                (),
                metadata=plane.forwarding.fragment(request, listener.config.forward_headers),
                deadline=deadline,
                sequence=sequence,
                route=route.name,
                variant=variant.name,
            )
            raw = self._write(call, infer, body, variant, headers)
            reply = oip_grpc.decode_reply((await variant.handler(call)).payload)
            asked = infer if raw is None else raw.infer
            assert asked is not None
            told = told if call.variant == variant.name else variant.elsewhere(call)
            response = rendered(*oip_json.encode_reply(reply, asked), headers)
        except GatewayError as error:
            code = error.code
            response = error_response(error)
        except BaseException as ending:
            code = code_of(ending)
            raise
        finally:
            listener.buffered -= inflated
            chosen = "" if variant is None else variant.name
            route.finish("inference", code, started, chosen if call is None else call.variant)
        if listener.tells:
            response.told = told
        return response

    def _write(
        self, call: Call, infer: InferRequest | None, body: Content, variant: Variant, headers: dict[bytes, bytes]
    ) -> RawRequest | None:
        """Make the request the message of its call; that of a body without JSON is written where the call goes."""
        if infer is None:
            raw = RawRequest(self._plane.signatures, body, headers)
            call.prepare = raw.prepare
            return raw
        infer.model, infer.version = call.model, call.version
        call.message = framed(oip_grpc.encode_request(infer))
        if call.sequence:
            call.mark(infer.parameters or {})
        if infer.outputs and (names := classified(infer)):
            call.prepare = self._plane.guard.of(names)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(headers, infer)
        return None

    # generate ---------------------------------------------------------------------------------------------------------

    async def _generate(self, match: Match, request: Request, listener: Listener, address: str) -> Response:
        if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise invalid("Unsupported content-encoding, only 'identity' is supported.")
        metadata = self._plane.forwarding.fragment(request, listener.config.forward_headers)
        view = View(REST, GENERATE, match.model, request.headers, address)
        generation = Generation(self._plane, match, request.body, metadata, view)
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
        return response


async def body_of(request: Request, listener: Listener) -> Content:
    """The body without its content coding. Raises `GatewayError`: 415 for a coding other than gzip and deflate, as RFC
    9110 §15.5.16 has it where Triton says 501, and 413 when it is too large."""
    encoding = request.headers.get(b"content-encoding", b"identity").lower()
    if encoding == b"identity":
        return request.body
    if encoding not in (b"gzip", b"deflate"):
        raise GatewayError(Code.UNIMPLEMENTED, "Unsupported compression type", http_status=415)
    return await inflate_aside(inflate, memoryview(request.body), encoding.decode(), listener.limits.inflated_bytes)


def parameters_of(infer: InferRequest | None) -> Parameters:
    """Those of a request that is known."""
    return {} if infer is None else infer.parameters or {}


def json_length(headers: dict[bytes, bytes], body: Content) -> int | None:
    """How many bytes of a body are JSON, as its header says; None for all. Raises `GatewayError`."""
    length = headers.get(LENGTH)
    if length is None:
        if not body:
            raise invalid("request body: expected a JSON object, got an empty body")
        return None
    if not length.isdigit() or len(length) > 18:
        raise invalid(f"inference-header-content-length: expected a number, got '{length[:32].decode('latin-1')}'")
    size = int(length)
    if size > len(body):
        raise invalid(f"inference header size should be in range (0, {len(body)}), got: {size}")
    return size


def match_of(request: Request) -> Match | GatewayError:
    """What a request's target asks for, kept with a head that repeats."""
    memo = request.memo
    if memo is None:
        return route(request.method, request.target)
    match = memo.match
    if type(match) is not Match:
        found = route(request.method, request.target)
        if type(found) is not Match:
            return found
        match = memo.match = found
    return match


def hold(listener: Listener, size: int) -> int:
    """Count `size` bytes that were inflated among those that the worker holds; the caller takes them off again. Raises
    `GatewayError` 503 when that is too many."""
    if listener.buffered + size > listener.limits.buffered_bytes:
        raise too_much_waits()
    listener.buffered += size
    return size


def ihcl(text: bytes) -> Field:
    """The header that says where binary tensors begin."""
    return (b"Inference-Header-Content-Length", b"%d" % len(text))


def rendered(text: bytes, tail: list[Buffer], headers: dict[bytes, bytes]) -> Response:
    """The response with this JSON and these binary tensors, as the request's headers want it."""
    if b"accept-encoding" in headers:
        return compressed(text, tail, headers[b"accept-encoding"])
    return Response(200, (text, *tail), OCTETS, (ihcl(text),)) if tail else Response(200, (text,))


def compressed(text: bytes, tail: list[Buffer], accept: bytes) -> Response:
    """The response in the coding that the client prefers. The length of the JSON part is that before compression."""
    encoding = choose_encoding(accept)
    extra: tuple[Field, ...] = (ihcl(text),) if tail else ()
    kind = OCTETS if tail else JSON
    if encoding is None:
        return Response(200, (text, *tail), kind, extra)
    return Response(200, (deflate([text, *tail], encoding),), kind, (*extra, (b"Content-Encoding", encoding.encode())))


def error_response(error: GatewayError) -> Response:
    """An error as Triton's clients read it."""
    extra: list[Field] = []
    if error.retry_after is not None:
        extra.append((b"Retry-After", b"%d" % max(1, round(error.retry_after))))
    if isinstance(error, MethodNotAllowed):
        extra.append((b"Allow", error.allow))
    elif error.http_status == 415:
        extra.append((b"Accept-Encoding", b"gzip, deflate"))
    return Response(error.http_status, (oip_json.encode_error(error.message),), JSON, extra)
