"""Heads that were seen before: a client repeats them byte for byte, and equal bytes mean the same, so llhttp reads them
once.

Only what no state of the connection can change is kept: whole heads of HTTP/1.1 requests with a content-length or no
body, that keep the connection and ask for nothing special. They hold what clients sent, credentials included, like
any request in memory, and are bounded by number and size.
"""

from __future__ import annotations

from gateway.ingress.exchange import Memo
from gateway.ingress.http1_head import CHUNKED, Message

ENTRIES = 1024
LARGEST = 4096


class Known:
    """A head and what it says. `size` is its length, `length` that of the body behind it, both in bytes."""

    __slots__ = ("_headers", "_length", "_memo", "_method", "_repeated", "_target", "head", "length", "size")

    def __init__(self, head: bytes, message: Message) -> None:
        self.head = head
        self.size = len(head)
        self.length = message.length or 0
        self._length = message.length
        self._method = message.method
        self._target = message.target
        self._headers = message.headers
        self._repeated = message.repeated
        self._memo = Memo()

    def message(self) -> Message:
        """A request with this head, whose body is still to come."""
        message = Message(self._method, self._target, self._headers, False)
        message.length = self._length
        message.keep = True
        message.repeated = self._repeated
        message.memo = self._memo
        return message


class KnownHeads:
    """The heads that one listener knows; its limits were checked for them."""

    __slots__ = ("_heads",)

    def __init__(self) -> None:
        self._heads: dict[bytes, Known] = {}

    def learn(self, head: bytes, message: Message) -> Known | None:
        """Keep the head of a message that llhttp read from exactly these bytes, if it is one to keep."""
        if message.old or message.length == CHUNKED or b"expect" in message.headers or not head.endswith(b"\r\n\r\n"):
            return None
        known = self._heads.get(head)
        if known is None:
            if len(head) > LARGEST:
                return None
            if len(self._heads) >= ENTRIES:
                self._heads.clear()
            known = self._heads[head] = Known(head, message)
        return known
