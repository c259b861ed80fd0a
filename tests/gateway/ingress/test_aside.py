"""What is inflated at once and what in a thread, and the errors of both."""

from __future__ import annotations

import asyncio
import threading
import zlib

import pytest

from gateway.ingress.aside import INLINE_BYTES, inflate_aside, inflate_message, inflate_small
from gateway.ingress.grpc_head import Head
from transcoding.http2.headers import HeaderBlock
from transcoding.message import Buffer
from transcoding.status import Code, GatewayError, invalid


def a_head(encoding: bytes = b"deflate") -> Head:
    return Head(HeaderBlock(((b"grpc-encoding", encoding),), (None, None, -1, False)))


@pytest.mark.parametrize(("size", "aside"), [(0, False), (INLINE_BYTES, False), (INLINE_BYTES + 1, True)])
def test_only_what_is_large_leaves_the_event_loop(size: int, aside: bool) -> None:
    given: list[tuple[Buffer, str, int]] = []

    def where(data: Buffer, encoding: str, limit: int) -> int:
        given.append((data, encoding, limit))
        return threading.get_ident()

    thread = asyncio.run(inflate_aside(where, bytes(size), "gzip", 7))
    assert (thread != threading.get_ident()) == aside
    assert given == [(bytes(size), "gzip", 7)]


def test_the_loop_goes_on_meanwhile() -> None:
    turned = threading.Event()

    async def main() -> bool:
        asyncio.get_running_loop().call_later(0.01, turned.set)
        return await inflate_aside(lambda *_: turned.wait(10), bytes(INLINE_BYTES + 1), "gzip", 1)

    assert asyncio.run(main())


@pytest.mark.parametrize("size", [1, INLINE_BYTES + 1])
def test_errors_come_through(size: int) -> None:
    def broken(*_: object) -> None:
        raise invalid("broken")

    with pytest.raises(GatewayError, match="broken"):
        asyncio.run(inflate_aside(broken, bytes(size), "gzip", 1))


@pytest.mark.parametrize("size", [10, 1000])
def test_a_message_is_inflated_as_its_head_says(size: int) -> None:
    plain = bytes(range(256)) * size
    packed = zlib.compress(plain, 0)  # level 0: as large as it was
    assert bytes(asyncio.run(inflate_message(packed, a_head(), len(plain)))) == plain
    with pytest.raises(GatewayError) as caught:
        asyncio.run(inflate_message(packed, a_head(), len(plain) - 1))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("message", [b"", bytes(INLINE_BYTES + 1)])
def test_a_compressed_message_of_a_call_that_names_no_encoding(message: bytes) -> None:
    head = a_head(b"identity")
    with pytest.raises(GatewayError, match="without grpc-encoding") as caught:
        asyncio.run(inflate_message(message, head, 100))
    assert (caught.value.code, caught.value.http_status) == (Code.INTERNAL, 400)
    with pytest.raises(GatewayError, match="without grpc-encoding"):
        inflate_small(message, head)


def test_a_small_message_may_become_no_large_one() -> None:
    assert inflate_small(zlib.compress(bytes(INLINE_BYTES)), a_head()) == bytes(INLINE_BYTES)
    with pytest.raises(GatewayError) as caught:
        inflate_small(zlib.compress(bytes(INLINE_BYTES + 1)), a_head())
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
