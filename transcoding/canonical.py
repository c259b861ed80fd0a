"""What an inference request asks, whatever dialect it came in: one digest for the same question, another for any other.

The digest is BLAKE2b-256 (RFC 7693), since whoever finds two questions with one digest could have the answer to one
given to whoever asks the other; xxh3 is a hundred times faster for large tensors and falls to anyone who tries. It
takes about 1 us for small requests and 1 ms for each megabyte.

What goes in is length-prefixed throughout, so that no two questions are written alike: the caller's context; inputs
by name, datatype, shape and raw little-endian bytes, in the order of their names; requested outputs in their order;
parameters by name. Left out is what does not change the answer: `id`, `priority`, `timeout`, and in which form the
tensors of the answer are wanted, as each dialect does that by itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter

from transcoding.message import Buffer, InferRequest, Parameter, Parameters, RequestedOutput

DIGEST_BYTES = 32
IGNORED = frozenset(("priority", "timeout", "binary_data", "binary_data_output", "binary_data_size"))
SHARED_MEMORY = "shared_memory_region"

_PERSON = b"penstock.cache.1"  # another form of what goes in gets another number
_SPELLED = b"penstock.spelled"
_JOINED = 16 * 1024  # bytes up to which one buffer is made: an update for each costs more than the copy
_NAME = attrgetter("name")


def join_texts(texts: Iterable[str]) -> bytes:
    """Texts in order, so that no other texts give the same bytes."""
    return b"".join([_text(each) for each in texts])


def digest_request(request: InferRequest, context: bytes) -> bytes:
    """The digest, `DIGEST_BYTES` long, of what is asked. `context` is from `join_texts`: who may share the answer, and
    of which model it is. Every input has its data."""
    parts: list[Buffer] = [_size(len(context)), context]
    inputs = request.inputs
    if len(inputs) > 1:
        inputs = sorted(inputs, key=_NAME)
    size = 0
    for tensor in inputs:
        data = tensor.data
        assert data is not None, "tensors in shared memory have no digest"
        size += len(data)
        parts += (_describe(tensor.name, tensor.datatype, tensor.shape, len(data)), data)
        if tensor.parameters:
            parts.append(_parameters(tensor.parameters))
    parts.append(b"O" + _size(len(request.outputs)))
    parts += [_output(each) for each in request.outputs]
    if request.parameters:
        parts.append(_parameters(request.parameters))
    if size <= _JOINED:
        return blake2b(b"".join(parts), digest_size=DIGEST_BYTES, person=_PERSON).digest()
    state = blake2b(digest_size=DIGEST_BYTES, person=_PERSON)
    for part in parts:
        state.update(part)
    return state.digest()


def digest_message(parts: Iterable[Buffer], context: bytes) -> bytes:
    """What tells this spelling of a question, a whole message, from all others: it costs a fifth of `digest_request`,
    and one question may have many spellings."""
    return blake2b(b"".join((_size(len(context)), context, *parts)), digest_size=DIGEST_BYTES, person=_SPELLED).digest()


def input_bytes(request: InferRequest) -> int:
    """Bytes of all inputs; -1 where a tensor of the request, or of the answer that it wants, is in shared memory."""
    size = 0
    for tensor in request.inputs:
        if tensor.data is None or (tensor.parameters and SHARED_MEMORY in tensor.parameters):
            return -1
        size += len(tensor.data)
    for output in request.outputs:
        if output.parameters and SHARED_MEMORY in output.parameters:
            return -1
    return size


@lru_cache(maxsize=4096)
def _describe(name: str, datatype: str, shape: tuple[int, ...], size: int) -> bytes:
    dimensions = struct.pack(f"<{len(shape)}q", *shape)
    return b"".join((b"I", _text(name), _text(datatype), _size(len(shape)), dimensions, _size(size)))


def _output(output: RequestedOutput) -> bytes:
    parameters = _parameters(output.parameters) if output.parameters else b""
    return _text(output.name) + (parameters or b".")


def _parameters(parameters: Parameters) -> bytes:
    kept = sorted(name for name in parameters if name not in IGNORED)
    if not kept:
        return b""
    return b"P" + _size(len(kept)) + b"".join([_text(name) + _value(parameters[name]) for name in kept])


def _value(value: Parameter) -> bytes:
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i" + _text(str(value))
    return b"d" + struct.pack("<d", value) if isinstance(value, float) else b"s" + _text(value)


def _text(text: str) -> bytes:
    data = text.encode()
    return _size(len(data)) + data


def _size(size: int) -> bytes:
    return size.to_bytes(8, "little")
