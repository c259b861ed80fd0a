"""Sets, removes and forwards headers: of requests on their way to an endpoint, where they are gRPC metadata, and of
answers on their way to the client.

Of a request nothing travels but `traceparent`, `tracestate`, `baggage`, `x-request-id` and what the listener's
`forward_headers` lists. `request.forward` lists more for this route, `request.set` writes headers whatever the client
said, and `request.remove` leaves out what would travel. In `answer`, `set` adds headers, and `remove` takes out those
that other policies added. Answers that are errors have them too.

A value may hold `{principal}`, `{tenant}`, `{route}`, `{variant}`, `{model}` and `{version}`, each "" where there is
none; what is not visible ASCII in them is percent-encoded, and so is `%`. Which of them are known depends on the place
in the chain: who calls, behind the policies of identity; the rest where the request goes is known.

Headers of a connection, those that say how a message is framed, credentials and what only a gateway may claim
(`X-Forwarded-*`, `Forwarded`) are neither set nor forwarded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from config.fields import items, text
from config.node import Node
from policies import Services
from routing.call import Call, Handler, Reply
from routing.table import printable
from transcoding.http2 import hpack
from transcoding.http2.fragment import without
from transcoding.metadata import Forwarding

Name = Annotated[str, text("A header", "sent_header")]
Forwarded = Annotated[str, text("A header, or a prefix and *", "header")]
Answered = Annotated[str, text("A header", "answered_header")]
Value = Annotated[str, text("Its value", "header_value")]

PLACE: Final = re.compile(r"\{(principal|tenant|route|variant|model|version)\}")


class OfRequest(Node, frozen=True):
    """What becomes of a request's headers. What is set is set last."""

    set: Annotated[dict[Name, Value], items("Headers to send, in place of the client's")] = msgspec.field(
        default_factory=dict
    )
    remove: Annotated[tuple[Name, ...], items("Headers that do not travel")] = ()
    forward: Annotated[tuple[Forwarded, ...], items("Headers of the client that travel")] = ()


class OfAnswer(Node, frozen=True):
    """What becomes of an answer's headers. What is set is set last."""

    set: Annotated[dict[Answered, Value], items("Headers to add")] = msgspec.field(default_factory=dict)
    remove: Annotated[tuple[Answered, ...], items("Headers of other policies to leave out")] = ()


class Spec(Node, frozen=True):
    """What becomes of headers."""

    request: Annotated[OfRequest, Meta(description="Those of requests")] = OfRequest()
    answer: Annotated[OfAnswer, Meta(description="Those of answers")] = OfAnswer()


class Policy:
    """Rewrites `Call.metadata` on the way in, and `Call.told` on the way out."""

    def __init__(self, spec: Spec, services: Services) -> None:
        request, answer = spec.request, spec.answer
        self.needs_view = bool(request.forward)
        self._forwarding = Forwarding(request.forward, ()) if request.forward else None
        self._sent = _Fields(request.set)
        self._unsent = tuple(name.encode() for name in (*request.remove, *request.set))
        self._told = _Fields(answer.set)
        self._untold = frozenset(name.encode() for name in (*answer.remove, *answer.set))

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`."""
        self._send(call)
        try:
            return await next(call)
        finally:
            self._tell(call)

    def _send(self, call: Call) -> None:
        if self._forwarding is not None and call.view is not None:
            for field in self._forwarding.choose(call.view.headers.items()):
                call.metadata = _less(call.metadata, field[0]) + hpack.encode([field])
        for name in self._unsent:
            call.metadata = _less(call.metadata, name)
        call.metadata += self._sent.block(call)

    def _tell(self, call: Call) -> None:
        if call.told and self._untold:
            call.told[:] = [field for field in call.told if field[0] not in self._untold]
        for name, value in self._told.of(call):
            call.tell(name, value)


class _Fields:
    """Headers to be written; those without places are encoded once."""

    def __init__(self, written: Mapping[str, str]) -> None:
        self._fields = [(name.encode(), _value(text)) for name, text in written.items()]
        fixed = [(name, value) for name, value in self._fields if isinstance(value, bytes)]
        self._block = hpack.encode(fixed) if len(fixed) == len(self._fields) and fixed else None

    def of(self, call: Call) -> list[tuple[bytes, bytes]]:
        """The fields for this call."""
        return [(name, value if isinstance(value, bytes) else value(call)) for name, value in self._fields]

    def block(self, call: Call) -> bytes:
        """The same encoded."""
        if self._block is not None:
            return self._block
        return hpack.encode(self.of(call)) if self._fields else b""


def _value(text: str) -> bytes | Callable[[Call], bytes]:
    if not PLACE.search(text):
        return text.encode()
    return lambda call: PLACE.sub(lambda place: _word(call, place[1]), text).encode()


def _word(call: Call, name: str) -> str:
    word = call.caller.tenant if name == "tenant" else getattr(call, name)
    return printable(word).decode()


def _less(metadata: bytes, name: bytes) -> bytes:
    return without(metadata, name) if name in metadata else metadata
