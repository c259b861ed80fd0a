"""Errors as clients of HTTP and gRPC read them."""

from __future__ import annotations

import json

import hpack
import pytest

from gateway.ingress.refusal import error_response, error_trailers
from transcoding.status import Code, GatewayError


def body(error: GatewayError) -> object:
    return json.loads(b"".join(map(bytes, error_response(error).body)))


def test_an_error_is_tritons() -> None:
    response = error_response(GatewayError(Code.NOT_FOUND, "no such model"))
    assert (response.status, response.content_type, response.fields) == (404, b"application/json", [])
    assert body(GatewayError(Code.NOT_FOUND, "no such model")) == {"error": "no such model"}


def test_a_problem_has_what_it_was_given_and_the_rest_by_default() -> None:
    error = GatewayError(Code.RESOURCE_EXHAUSTED, "slower", retry_after=2.4, problem={"violated-policies": ["user"]})
    assert body(error) == {
        "error": "slower", "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "slower",
        "violated-policies": ["user"],
    }  # fmt: skip
    response = error_response(error)
    assert (response.content_type, response.fields) == (b"application/problem+json", [(b"Retry-After", b"2")])
    assert body(GatewayError(Code.NOT_FOUND, "x", problem={}))["type"] == "about:blank"  # type: ignore[index]


def test_fields_of_a_refusal() -> None:
    error = GatewayError(Code.UNAUTHENTICATED, "no", fields=[(b"www-authenticate", b"Bearer")])
    assert error_response(error).fields == [(b"www-authenticate", b"Bearer")]


@pytest.mark.parametrize(("details", "text"), [(b"\x01", b"AQ"), (b"\xff\xff\xff", b"////")])
def test_trailers_have_fields_and_details(details: bytes, text: bytes) -> None:
    error = GatewayError(Code.RESOURCE_EXHAUSTED, "slower", fields=[(b"ratelimit", b"x")], details=details)
    assert [tuple(each) for each in hpack.Decoder().decode(error_trailers(error), raw=True)] == [
        (b"grpc-status", b"8"), (b"grpc-message", b"slower"), (b"ratelimit", b"x"), (b"grpc-status-details-bin", text),
    ]  # fmt: skip
