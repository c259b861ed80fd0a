"""Mutates HTTP/1.1 conversations and holds the ingress to its promises.

    python -m tests.fuzz.http1 --count 1000000 --seed 1

Promises: no bytes make it raise; what reaches the service is a well-formed request within the limits; and however the
bytes are cut into reads, the same requests come out in the same order with the same answers, so nobody can make two
hops read one stream differently. At the end nothing is held.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from config.schema import Limits
from config.schema import Listener as ListenerConfig
from gateway.ingress.exchange import Request, Response
from gateway.ingress.grpc_service import GrpcService
from gateway.ingress.http1 import Http1
from gateway.ingress.http1_head import METHODS
from gateway.ingress.listener import Listener
from gateway.ingress.peer import Peer
from gateway.telemetry.metrics import Metrics
from tests.support.ingress import MemoryTransport, feed

LIMITS = Limits(header_bytes=2000, headers=12, body_bytes=200_000, pipelined=4)
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
BODY = b'{"inputs":[]}'
SEEDS = [
    b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a:80\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: x\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"GET http://a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000,
]
TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"Content-Length: 3\r\n", b"Content-Length: +3\r\n",
    b"Host: b\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"HTTP/1.1",
    b"GET ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff", b"x" * 3000, b" : ", b"\r\n x", b"#", b"//",
    b"Expect: x\r\n",
]  # fmt: skip


class Overhead(Exception):
    """A head was too large, or a body more framing than data. These are counted by reads, so it may be let pass, or be
    found out, a read later than when the bytes come in other pieces."""


class Rest:
    """Notes the requests, and checks them."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...], bytes]] = []

    async def serve(self, request: Request, listener: Listener, peer: Peer) -> Response:
        assert request.method in METHODS
        assert request.target.startswith(b"/")
        assert len(request.body) <= LIMITS.body_bytes
        assert len(request.headers) <= LIMITS.headers
        for name, value in request.headers.items():
            assert NAME(name), name
            assert not re.search(rb"[\0\r\n]", value), value
        self.seen.append((request.method, request.target, tuple(sorted(request.headers.items())), bytes(request.body)))
        await asyncio.sleep(0)
        return Response(200, (b"{}",))


async def converse(data: bytes, cut: Callable[[], int]) -> tuple[list[Any], list[bytes]]:
    """The requests that reached the service, and the first digits of the answers' status."""
    rest = Rest()
    grpc = GrpcService(SimpleNamespace(loop=asyncio.get_running_loop()))  # type: ignore[arg-type]  # is not asked
    listener = Listener(ListenerConfig("127.0.0.1:1", limits=LIMITS), rest, grpc, Metrics())
    transport = MemoryTransport(listener.loop)
    connection = Http1(listener, transport, Peer())  # type: ignore[arg-type]
    listener.connections.add(connection)
    transport.protocol = connection
    at = 0
    while at < len(data) and transport.open:
        if not transport.reading:
            await asyncio.sleep(0)
            continue
        at += feed(transport.protocol, data[at : at + cut()])
    for _ in range(400):
        await asyncio.sleep(0)
    transport.lose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert listener.buffered == 0
    assert listener.requests_in_flight == 0
    written = bytes(transport.written)
    if b"more framing than data" in written or b"HTTP/1.1 431" in written:
        raise Overhead
    # Which of two mistakes is found first may depend on the cuts; that there is one may not.
    return rest.seen, re.findall(rb"HTTP/1\.1 (?!1)(\d)", written)


def conversation(rng: random.Random) -> bytes:
    """Some requests, some of them again, mutated."""
    chosen = [rng.choice(SEEDS[:-1] if rng.random() < 0.97 else SEEDS) for _ in range(rng.randrange(1, 5))]
    if rng.random() < 0.5:
        chosen += [chosen[-1]] * rng.randrange(1, 3)
    data = bytearray(b"".join(chosen))
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(4)
        if what == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at:at] = rng.choice(TOKENS)
        elif what == 2:
            del data[at : at + rng.randrange(1, 20)]
        else:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(60)]
    return bytes(data)


async def check(seed: int) -> None:
    """One conversation, read at once and in pieces."""
    rng = random.Random(seed)
    data = conversation(rng)
    largest = rng.choice((1, 3, 50, 5000)) if len(data) < 20_000 else 20_000
    try:
        whole = await converse(data, lambda: 65536)
        pieces = await converse(data, lambda: rng.randint(1, largest))
    except Overhead:
        return
    if whole != pieces:
        text = re.sub(r"x{100,}", "x…", f"{data!r}: at once {whole}, in pieces {pieces}")
        raise AssertionError(f"seed {seed}: {text}")


async def run(count: int, seed: int) -> None:
    """`count` conversations. Raises AssertionError with the seed of one that breaks a promise."""
    for number in range(seed, seed + count):
        try:
            await check(number)
        except BaseException:
            print(f"failed: --count 1 --seed {number}")
            raise


def main() -> None:
    """Run `--count` conversations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.monotonic()
    asyncio.run(run(options.count, options.seed))
    print(f"{options.count} conversations in {time.monotonic() - begin:.1f} s, no failure")


if __name__ == "__main__":
    main()
