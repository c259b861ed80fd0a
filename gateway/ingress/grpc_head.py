"""What the head of a gRPC call says. Kept with its header block: a client that repeats a block pays for it once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.ingress.exchange import Field
from gateway.ingress.http1_head import DROP, joined, without_underscores
from routing.match import GRPC, View
from transcoding.grpc_framing import parse_timeout
from transcoding.http2.hpack import HeaderBlock
from transcoding.methods import METHODS, Method
from transcoding.status import Code, GatewayError, invalid

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcStream

ENCODINGS = frozenset({"identity", "gzip", "deflate"})


class Head:
    """Method, timeout in seconds, message encoding and fields of a call; `error` is what is wrong with it."""

    __slots__ = ("_metadata", "encoding", "error", "fields", "forwarded", "method", "repeated",
                 "timeout")  # fmt: skip

    def __init__(self, block: HeaderBlock, underscores: str = DROP) -> None:
        self.method: Method | None = None
        self.timeout: float | None = None
        self.encoding = "identity"
        self.error: GatewayError | None = None
        self.fields: Sequence[Field] = block.fields
        self.repeated: tuple[bytes, ...] = ()
        self.forwarded: dict[tuple[str, ...], bytes] = {}
        self._metadata: dict[bytes, bytes] | None = None
        if block.too_large:
            self.error = GatewayError(Code.RESOURCE_EXHAUSTED, "metadata too large", http_status=431)
            return
        try:
            self.fields = without_underscores(block.fields, underscores)
            for name, value in self.fields:
                self._take(name, value)
            if sum(name == b"authorization" for name, _ in self.fields) > 1:
                raise invalid("authorization: expected at most one")
        except GatewayError as error:
            self.error = error

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The fields by name, values of one name joined, for those who look for a few of them; then `repeated` has the
        names of these."""
        if self._metadata is None:
            joint: dict[bytes, bytes] = {}
            for name, value in self.fields:
                if name in joint:
                    self.repeated = (*self.repeated, name)
                joint[name] = joined(joint[name], name, value) if name in joint else value
            self._metadata = joint
        return self._metadata

    def _take(self, name: bytes, value: bytes) -> None:
        if name == b":path":
            self.method = METHODS.get(value)
        elif name == b":method" and value != b"POST":
            raise GatewayError(Code.UNIMPLEMENTED, "gRPC calls are POST requests", http_status=405)
        elif name == b"grpc-timeout":
            self.timeout = parse_timeout(value)
        elif name == b"grpc-encoding":
            self.encoding = value.decode("latin-1")
            if self.encoding not in ENCODINGS:
                raise GatewayError(Code.UNIMPLEMENTED, f"message encoding '{self.encoding}' is not supported")


def head_of(block: HeaderBlock, underscores: str = DROP) -> Head:
    """The head of a call, from memory where the block repeats."""
    memo = block.memo
    if type(memo) is not Head:
        memo = block.memo = Head(block, underscores)
    return memo


def view_of(stream: GrpcStream, head: Head, method: str, model: str) -> View:
    """What policies, rules and splits see of a call."""
    view = stream.listener.view(GRPC, method, model, head.metadata, stream.peer)
    view.repeated = head.repeated
    return view
