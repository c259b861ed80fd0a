"""What the head of a gRPC call says."""

from __future__ import annotations

import pytest

from gateway.ingress.grpc_head import Head, head_of
from transcoding.http2.headers import HeaderBlock
from transcoding.methods import BY_NAME
from transcoding.status import Code

PATH = b"/inference.GRPCInferenceService/ModelInfer"

GOOD = (None, None, -1, False)  # what the rules of HTTP/2 say of the block


def a_block(**fields: bytes) -> HeaderBlock:
    named = {b":method": b"POST", b":path": PATH} | {
        name.replace("_", "-").encode(): value for name, value in fields.items()
    }
    return HeaderBlock((*named.items(),), GOOD)


def test_method_timeout_and_encoding() -> None:
    head = Head(a_block(grpc_timeout=b"250m", grpc_encoding=b"gzip"))
    assert (head.method, head.timeout, head.encoding, head.error) == (BY_NAME["ModelInfer"], 0.25, "gzip", None)


def test_what_is_not_said() -> None:
    head = Head(a_block())
    assert (head.timeout, head.encoding) == (None, "identity")


def test_metadata_by_name() -> None:
    fields = ((b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-a", b"2"), (b"cookie", b"b=2"))
    head = Head(HeaderBlock(fields, GOOD))
    assert head.metadata == {b"x-a": b"1, 2", b"cookie": b"a=1; b=2"}
    assert head.metadata is head.metadata
    assert head.repeated == (b"x-a", b"cookie")


def test_two_credentials_are_refused() -> None:
    fields = ((b":path", PATH), (b"authorization", b"Bearer a"), (b"authorization", b"Bearer b"))
    error = Head(HeaderBlock(fields, GOOD)).error
    assert error is not None
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, "authorization: expected at most one")


def test_underscores() -> None:
    fields = ((b":path", PATH), (b"x_a", b"1"), (b"x-a", b"2"))
    dropped, allowed, rejected = (Head(HeaderBlock(fields, GOOD), each) for each in ("drop", "allow", "reject"))
    assert (dropped.error, dropped.metadata) == (None, {b":path": PATH, b"x-a": b"2"})
    assert (allowed.error, allowed.metadata[b"x_a"]) == (None, b"1")
    assert rejected.error is not None
    assert rejected.error.code is Code.INVALID_ARGUMENT


def test_a_path_that_is_not_known() -> None:
    assert Head(HeaderBlock(((b":path", b"/x/Y"),), GOOD)).method is None


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"grpc_timeout": b"5"}, Code.INVALID_ARGUMENT, "grpc-timeout"),
        ({"grpc_timeout": b"123456789S"}, Code.INVALID_ARGUMENT, "grpc-timeout"),
        ({"grpc_encoding": b"br"}, Code.UNIMPLEMENTED, "message encoding 'br' is not supported"),
    ],
)
def test_what_is_wrong(fields: dict[str, bytes], code: Code, text: str) -> None:
    error = Head(a_block(**fields)).error
    assert error is not None
    assert (error.code, text in error.message) == (code, True)


def test_calls_are_posts() -> None:
    error = Head(HeaderBlock(((b":method", b"GET"), (b":path", PATH)), GOOD)).error
    assert error is not None
    assert (error.code, error.http_status) == (Code.UNIMPLEMENTED, 405)


def test_a_block_that_is_too_large_says_nothing_else() -> None:
    block = a_block(grpc_timeout=b"bad")
    block.too_large = True
    head = Head(block)
    assert head.error is not None
    assert (head.error.code, head.method) == (Code.RESOURCE_EXHAUSTED, None)


def test_it_is_kept_with_its_block() -> None:
    block = a_block()
    assert head_of(block) is head_of(block)
    assert head_of(a_block()) is not head_of(block)
