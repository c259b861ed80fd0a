"""Errors as clients read them: Triton's `{"error": ...}` over HTTP, as a problem detail (RFC 9457) where there is one,
and trailers over gRPC."""

from __future__ import annotations

import binascii

from gateway.ingress.exchange import JSON, REASONS, Field, Response
from transcoding.dialects.oip_json import encode_error, encode_problem
from transcoding.dialects.oip_paths import MethodNotAllowed
from transcoding.grpc_framing import trailers_block
from transcoding.http2 import hpack
from transcoding.status import GatewayError

PROBLEM = b"application/problem+json"
DETAILS = b"grpc-status-details-bin"
"""Of gRPC's richer error model: base64 without padding, as PROTOCOL-HTTP2.md has binary metadata."""


def error_response(error: GatewayError) -> Response:
    """An error as Triton's clients read it."""
    extra: list[Field] = []
    if error.retry_after is not None:
        extra.append((b"Retry-After", b"%d" % max(1, round(error.retry_after))))
    if isinstance(error, MethodNotAllowed):
        extra.append((b"Allow", error.allow))
    elif error.http_status == 415:
        extra.append((b"Accept-Encoding", b"gzip, deflate"))
    extra.extend(error.fields)
    if error.problem is None:
        return Response(error.http_status, (encode_error(error.message),), JSON, extra)
    return Response(error.http_status, (encode_problem(error, title_of(error.http_status)),), PROBLEM, extra)


def title_of(status: int) -> str:
    """What a status is called."""
    return REASONS.get(status, b"").decode()


def error_trailers(error: GatewayError) -> bytes:
    """The end of a gRPC call that failed, as an encoded header block."""
    block = trailers_block(error.code, error.message, error.fields)
    if error.details:
        block += hpack.encode([(DETAILS, binascii.b2a_base64(error.details, newline=False).rstrip(b"="))])
    return block
