"""One inference over REST: JSON → hub → protobuf bytes → route → protobuf bytes → hub → JSON, with binary tensors as
views.

Who calls is found out before anything of the body is read; the rest of the way is `RestInference.proceed`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.guard import classified
from gateway.ingress.aside import inflate_aside
from gateway.ingress.exchange import JSON, OCTETS, Field, Request, Response
from gateway.ingress.generate import framed, sequence_of
from gateway.ingress.grpc_message import too_much_waits
from gateway.ingress.listener import Listener
from gateway.ingress.peer import Peer
from gateway.ingress.refusal import error_response
from gateway.ingress.rest_raw import RawRequest
from gateway.snapshot import Route, code_of
from routing.call import Call, Reply
from routing.match import INFER, REST, View
from routing.pins import Resolved
from routing.table import NOTHING_TOLD, Told, Variant
from transcoding.compression import choose_encoding, deflate, inflate
from transcoding.dialects import oip_grpc, oip_json
from transcoding.dialects.oip_paths import Match
from transcoding.message import Buffer, Content, InferRequest, Parameters
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError, invalid

if TYPE_CHECKING:
    from gateway.worker import DataPlane

MODEL_INFER = BY_NAME["ModelInfer"]
LENGTH = b"inference-header-content-length"


class RestInference:
    """One request, to be answered once."""

    __slots__ = ("_inflated", "_listener", "_match", "_peer", "_plane", "_request", "_route", "_told", "_variant")

    def __init__(
        self, plane: DataPlane, route: Route, match: Match, request: Request, listener: Listener, peer: Peer
    ) -> None:
        self._plane = plane
        self._route = route
        self._match = match
        self._request = request
        self._listener = listener
        self._peer = peer
        self._variant: Variant | None = None
        self._told: Told = NOTHING_TOLD
        self._inflated = 0

    async def answer(self) -> Response:
        """The response, be it an error."""
        route, listener = self._route, self._listener
        call = self._call()
        route.in_flight.value += 1
        started, code = perf_counter(), 0
        try:
            head = route.head
            if head is None:
                reply = await self.proceed(call)
            else:
                call.proceed = self.proceed
                reply = await head(call)
            response = self._rendered(call, reply)
        except GatewayError as error:
            code = error.code
            response = error_response(error)
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            listener.buffered -= self._inflated
            route.finish("inference", code, started, call.variant)
        if listener.tells:
            response.told = self._told
        if call.told:
            response.fields = (*response.fields, *call.told)
        return response

    def _call(self) -> Call:
        plane, route, match, listener = self._plane, self._route, self._match, self._listener
        call = Call(
            MODEL_INFER,
            match.model,
            match.version,
            (),
            metadata=plane.forwarding.fragment(self._request, listener.config.forward_headers),
            deadline=route.deadline(listener.loop, listener.deadlines.request),
            route=route.name,
        )
        if route.needs_view:
            call.view = self._view()
        return call

    def _view(self) -> View:
        return view_of(self._request, self._listener, self._peer, INFER, self._match.model)

    async def proceed(self, call: Call) -> Reply:
        """Read the request, choose, and hand on to the policies behind that. Raises `GatewayError`."""
        request, match = self._request, self._match
        headers, body = request.headers, request.body
        if b"content-encoding" in headers:
            body = await body_of(request, self._listener)
            self._inflated += hold(self._listener, len(body))
        length = json_length(headers, body) if LENGTH in headers or not body else None
        infer = oip_json.decode_request(body, length, match.model, match.version) if length != 0 else None
        if infer is not None:
            call.sequence = sequence_of(infer)
        variant = self._route.only
        model, version = match.model, match.version
        if variant is None or call.sequence:
            variant, model, version, self._told = self._resolve(call, infer)
        else:
            self._told = variant.told
            if variant.alters:
                model, version, self._told = variant.resolve(model, version)
        self._variant = variant
        call.model, call.version, call.variant = model, version, variant.name
        if infer is not None:
            self._write(call, infer, variant)
        else:
            call.prepare = RawRequest(self._plane.signatures, body, headers).prepare
        return await variant.handler(call)

    def _write(self, call: Call, infer: InferRequest, variant: Variant) -> None:
        infer.model, infer.version = call.model, call.version
        call.infer = infer
        call.message = framed(oip_grpc.encode_request(infer))
        if call.sequence:
            call.mark(infer.parameters or {})
        if infer.outputs and (names := classified(infer)):
            call.prepare = self._plane.guard.of(names)
        if (keyed := variant.pool.hash_key) is not None:
            call.hash_key = keyed.of(self._request.headers, infer)

    def _resolve(self, call: Call, infer: InferRequest | None) -> Resolved:
        view = call.view or self._view()
        view.sequence = call.sequence
        view.principal = call.principal
        parameters: Parameters = {} if infer is None else infer.parameters or {}
        return self._route.resolve(view, self._match.version, parameters)

    def _rendered(self, call: Call, reply: Reply) -> Response:
        """The response to a request that was read; policies that answer by themselves stand behind that."""
        infer, variant = call.infer, self._variant
        assert infer is not None
        assert variant is not None
        if call.variant != variant.name:
            self._told = variant.elsewhere(call)
        return rendered(*oip_json.encode_reply(oip_grpc.decode_reply(reply.payload), infer), self._request.headers)


def view_of(request: Request, listener: Listener, peer: Peer, method: str, model: str) -> View:
    """What policies, rules and splits see of a request."""
    view = listener.view(REST, method, model, request.headers, peer)
    view.repeated = request.repeated
    return view


async def body_of(request: Request, listener: Listener) -> Content:
    """The body without its content coding. Raises `GatewayError`: 415 for a coding other than gzip and deflate, as RFC
    9110 §15.5.16 has it where Triton says 501, and 413 when it is too large."""
    encoding = request.headers.get(b"content-encoding", b"identity").lower()
    if encoding == b"identity":
        return request.body
    if encoding not in (b"gzip", b"deflate"):
        raise GatewayError(Code.UNIMPLEMENTED, "Unsupported compression type", http_status=415)
    return await inflate_aside(inflate, memoryview(request.body), encoding.decode(), listener.limits.inflated_bytes)


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
