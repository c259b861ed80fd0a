"""What requests of a stream need of their session and its endpoints, without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.ingress.grpc_request import StreamRequest
from gateway.ingress.upstream import Upstream, Upstreams
from routing.call import Call
from routing.table import NOTHING_TOLD
from transcoding.methods import BY_NAME


class Attempt:
    """The sending side of a stream, which takes everything."""

    queued = 0
    ended = False

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.half_closed = self.cancelled = False

    def send(self, message: object) -> None:
        self.sent.append(message)

    def half_close(self) -> None:
        self.half_closed = True

    def cancel(self) -> None:
        self.cancelled = True


class StreamChannel:
    """Opens streams, one turn of the loop later if it is `slow`."""

    connected = True

    def __init__(self, slow: bool = False) -> None:
        self.attempts: list[Attempt] = []
        self._slow = slow

    def hurry(self) -> None:
        """It is always connected."""

    async def unary(self, call: Call) -> Any:
        raise NotImplementedError

    async def stream(self, path: bytes, sink: object, **_: object) -> Any:
        if self._slow:
            await asyncio.sleep(0)
        self.attempts.append(Attempt())
        return self.attempts[-1]


class Session:
    """Notes what it hears. It has a loop when it is made on one."""

    deadline = None

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.upstreams = Upstreams(self, b"", None)
        try:
            self.loop: Any = asyncio.get_running_loop()
        except RuntimeError:
            self.loop = None

    # of upstreams

    def response(self, upstream: Upstream, message: Any) -> None:
        self.heard.append(bytes(message))

    def upstream_ended(self, upstream: Upstream, error: object) -> None:
        self.heard.append(error)

    def progress(self) -> None:
        self.heard.append("progress")

    # of requests

    async def wait(self) -> None:
        await asyncio.sleep(0)

    async def room(self, upstream: Upstream, first: object) -> None:
        self.heard.append("room")

    def pass_on(self) -> None:
        self.heard.append("passed on")

    def was_sent(self, request: StreamRequest, upstream: Upstream) -> None:
        self.heard.append("sent")

    def left_limbo(self, request: StreamRequest) -> None:
        request.limbo = False

    def forget(self, request: StreamRequest) -> None:
        self.heard.append("forgotten")

    def expired(self, error: object) -> None:
        self.heard.append(error)


def a_request(session: Session, id: str = "", sequence: str = "") -> StreamRequest:
    call = Call(BY_NAME["ModelStreamInfer"], "m", "", (b"\0\0\0\0\0",), sequence=sequence)
    request = StreamRequest(session, call, id, False, NOTHING_TOLD)  # type: ignore[arg-type]
    call.exchange = request
    return request
