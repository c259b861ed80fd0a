"""What a gRPC message must be before it is taken: framed, within its caps, and the only one."""

from __future__ import annotations

from transcoding.dialects.oip_grpc import Envelope
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError

PREFIX_BYTES = 5
PINNED_SLACK = 64 * 1024


def is_whole(data: Buffer, size: int) -> bool:
    """Is this exactly one uncompressed message with its prefix?"""
    return size >= PREFIX_BYTES and not data[0] and int.from_bytes(data[1:5], "big") == size - PREFIX_BYTES


def unpinned(data: Buffer) -> Buffer:
    """The bytes, copied when they are a view that would keep a much larger read of the socket alive."""
    if type(data) is memoryview and len(data.obj) > PINNED_SLACK + 4 * len(data):  # type: ignore[arg-type]
        return bytes(data)
    return data


def sequence_of(envelope: Envelope) -> str:
    """The id of the sequence that a request belongs to as text, "" for none."""
    sequence = envelope.sequence_id
    return "" if sequence is None else str(sequence)


def not_one(count: str) -> GatewayError:
    """A request with another number of messages than its method takes; the code is that of the gRPC libraries
    (https://grpc.github.io/grpc/core/md_doc_statuscodes.html)."""
    return GatewayError(Code.UNIMPLEMENTED, f"expected one message, got {count}")


def too_large(limit: int) -> GatewayError:
    """A message over the cap."""
    return GatewayError(Code.RESOURCE_EXHAUSTED, f"message larger than {limit} bytes", http_status=413)


def too_much_waits() -> GatewayError:
    """This worker holds as many bytes for clients as it may."""
    text = "too many bytes are waiting in this worker"
    return GatewayError(Code.RESOURCE_EXHAUSTED, text, http_status=503, fault=Fault.BUSY, retry_after=1.0)
