"""The request of a call as tensors, read from its message at most once."""

from __future__ import annotations

from routing.call import Call
from transcoding.grpc_framing import prefix
from transcoding.message import InferRequest

PREFIX_BYTES = 5
SMALL = 4096
"""Bytes of a message below which a copy costs less than a view of it."""


def is_written(call: Call) -> bool:
    """Whether the message is there. Where the model decides how it looks it is written when the call is sent."""
    return bool(call.message)


def request_of(call: Call) -> InferRequest:
    """A call's request as tensors. Raises `GatewayError` INVALID_ARGUMENT for a message that is none."""
    infer = call.infer
    if infer is None:
        from transcoding.dialects.oip_grpc import decode_request  # NumPy comes with it, which checking must not cost

        message = call.message[0] if len(call.message) == 1 else b"".join(call.message)
        payload = message if len(message) < SMALL else memoryview(message)
        infer = call.infer = decode_request(payload[PREFIX_BYTES:])
    return infer


def retarget(call: Call, model: str, version: str) -> None:
    """Have the call ask for this model and version, "" for none, and write that into its message if it is there."""
    if (model, version) == (call.model, call.version):
        return
    if call.message:
        from transcoding.oip_envelope import set_target  # NumPy comes with it too

        payload = b"".join(call.message)[PREFIX_BYTES:]
        parts = set_target(payload, model if model != call.model else "", version)
        call.message = (prefix(sum(map(len, parts))), *parts)
    call.model, call.version = model, version
