"""Replies that have the form of an earlier one: of those only the tensors are taken out.

A ModelInferResponse of the same model differs from the last one in the bytes of its raw contents alone, which stand
at its end. So when its length, what stands before them and what stands between them are equal, it says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from transcoding.message import InferReply, Tensor
from transcoding.oip_messages import RAW_OUTPUT
from transcoding.protobuf_wire import varint

LARGEST = 8192
ENTRIES = 1024
_PREFIX = 24


Decode = Callable[[bytes], InferReply]


class _Form(NamedTuple):
    """`head` stands before the first tensor; of each tensor name, datatype, shape, what stands before it, its place."""

    model: str
    version: str
    head: bytes
    tensors: tuple[tuple[str, str, tuple[int, ...], bytes, int, int], ...]


_forms: dict[tuple[int, bytes], _Form] = {}


def decode(message: bytes) -> InferReply | None:
    """The reply, if its form is known."""
    form = _forms.get((len(message), message[:_PREFIX]))
    if form is None:
        return None
    model, version, head, tensors = form
    if not message.startswith(head):
        return None
    outputs = []
    at = len(head)
    for name, datatype, shape, before, start, stop in tensors:
        if message[at:start] != before:
            return None
        outputs.append(Tensor(name, datatype, shape, message[start:stop]))
        at = stop
    return InferReply(model, version, "", None, outputs)


def learn(message: bytes, reply: InferReply, exact: Decode) -> None:
    """Remember the form of a message that `exact` decoded to `reply`, if it is one that may repeat, and if other bytes
    in the places of the tensors are decoded to these."""
    if len(message) > LARGEST or reply.id or reply.parameters or any(tensor.parameters for tensor in reply.outputs):
        return
    raws = [bytes(tensor.data or b"") for tensor in reply.outputs]
    befores = [bytes((RAW_OUTPUT,)) + varint(len(raw)) for raw in raws]
    tail = b"".join(part for pair in zip(befores, raws, strict=True) for part in pair)
    if not raws or not message.endswith(tail):
        return
    others = [bytes(0xFF ^ byte for byte in raw) for raw in raws]
    probe = message[: -len(tail)] + b"".join(part for pair in zip(befores, others, strict=True) for part in pair)
    if [tensor.data for tensor in exact(probe).outputs] != others:
        return
    at = len(message) - len(tail)
    head, tensors = message[:at], []
    for tensor, before, raw in zip(reply.outputs, befores, raws, strict=True):
        start = at + len(before)
        at = start + len(raw)
        tensors.append((tensor.name, tensor.datatype, tensor.shape, before, start, at))
    if len(_forms) >= ENTRIES:
        _forms.clear()
    _forms[len(message), message[:_PREFIX]] = _Form(reply.model, reply.version, head, tuple(tensors))
