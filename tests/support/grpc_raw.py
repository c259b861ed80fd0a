"""gRPC calls as message bytes, and their outcomes in parts that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any

import grpc

SERVICE = "/inference.GRPCInferenceService/"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """How a call ended: the name of its code, its message, and what came before."""

    code: str
    details: str
    replies: tuple[bytes, ...]


class Raw:
    """A channel that knows no messages."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=OPTIONS)

    def close(self) -> None:
        self._channel.close()

    def unary(self, method: str, message: bytes, metadata: Metadata = (), timeout: float = 20) -> Outcome:
        call = self._channel.unary_unary(method)
        return _outcome(lambda: iter([call(message, timeout=timeout, metadata=metadata)]))

    def stream(
        self, messages: Sequence[bytes], replies: int, method: str = SERVICE + "ModelStreamInfer", timeout: float = 20
    ) -> Outcome:
        """Send all, keep the stream open until `replies` have come, then close this side and take the rest."""
        done: Queue[None] = Queue()

        def requests() -> Iterator[bytes]:
            yield from messages
            done.get(timeout=timeout)

        def received() -> Iterator[bytes]:
            left = replies
            if left == 0:
                done.put(None)
            for reply in self._channel.stream_stream(method)(requests(), timeout=timeout):
                yield reply
                left -= 1
                if left == 0:
                    done.put(None)

        try:
            return _outcome(received)
        finally:
            done.put(None)


def _outcome(call: Callable[[], Iterator[bytes]]) -> Outcome:
    replies: list[bytes] = []
    try:
        replies.extend(call())
    except grpc.RpcError as error:
        failed: Any = error
        return Outcome(failed.code().name, failed.details() or "", tuple(replies))
    return Outcome("OK", "", tuple(replies))
