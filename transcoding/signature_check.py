"""A request against what its model says that it takes: names, datatypes, shapes, the batch, and the bytes of tensors.

Triton finds most of this out itself, some of it only when a backend has the request, and one mistake after the other.
Here the first mistake is told with the tensor's place and name and with what was expected, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from transcoding.message import InferRequest, ModelSignature, Tensor
from transcoding.status import invalid
from transcoding.tensor import layout

SHARED_MEMORY = "shared_memory_region"
Shape = tuple[int, ...]


def check_request(request: InferRequest, signature: ModelSignature) -> None:
    """Raises `GatewayError` INVALID_ARGUMENT for the first thing that does not fit."""
    seen: set[str] = set()
    for index, tensor in enumerate(request.inputs):
        expected = signature.inputs.get(tensor.name)
        if expected is None:
            raise invalid(f"inputs[{index}].name: expected {one_of(signature.inputs)}, got {tensor.name!r}")
        if tensor.name in seen:
            raise invalid(f"inputs[{index}].name: expected each input once, got {tensor.name!r} again")
        seen.add(tensor.name)
        _check_tensor(index, tensor, expected, signature)
    missing = signature.inputs.keys() - seen - signature.optional
    if missing:
        raise invalid(f"inputs: expected {', '.join(map(repr, sorted(missing)))} too, which the model needs")
    if signature.max_batch_size:
        _check_batches(request.inputs, signature)
    _check_outputs(request, signature)


def _check_tensor(index: int, tensor: Tensor, expected: tuple[str, Shape], signature: ModelSignature) -> None:
    datatype, shape = expected
    if tensor.datatype != datatype:
        raise invalid(f"inputs[{index}].datatype: expected {datatype} for {tensor.name!r}, got {tensor.datatype!r}")
    if tensor.name not in signature.shaped_freely:
        _check_shape(index, tensor, shape, signature.max_batch_size)
    if tensor.data is not None and not (tensor.parameters and SHARED_MEMORY in tensor.parameters):
        _check_data(index, tensor)


def _check_shape(index: int, tensor: Tensor, expected: Shape, max_batch: int) -> None:
    shape = tensor.shape
    if len(shape) != len(expected) or any(
        got != wanted for got, wanted in zip(shape, expected, strict=True) if wanted >= 0
    ):  # fmt: skip
        raise invalid(f"inputs[{index}].shape: expected {written(expected)} for {tensor.name!r}, got {written(shape)}")
    if max_batch and shape[0] > max_batch:
        place = f"inputs[{index}].shape[0]"
        raise invalid(f"{place}: expected a batch of at most {max_batch} for {tensor.name!r}, got {shape[0]}")


def _check_data(index: int, tensor: Tensor) -> None:
    assert tensor.data is not None
    place = f"inputs[{index}].data: expected"
    try:
        wanted = layout(tensor.datatype, tensor.shape)
    except ValueError as error:
        raise invalid(f"inputs[{index}].{error}") from None
    size = len(tensor.data)
    described = f"for {tensor.name!r}, {tensor.datatype}{written(tensor.shape)}"
    if wanted.size >= 0 and size != wanted.size:
        raise invalid(f"{place} {wanted.size} bytes {described}, got {size}")
    if wanted.size < 0 and (count := elements_of(memoryview(tensor.data))) != wanted.count:
        got = "a length that points behind the end" if count is None else f"{count}"
        raise invalid(f"{place} {wanted.count} elements {described}, got {got}")


def _check_batches(inputs: Iterable[Tensor], signature: ModelSignature) -> None:
    first: Tensor | None = None
    for tensor in inputs:
        if tensor.name in signature.shaped_freely:
            continue
        if first is None:
            first = tensor
        elif tensor.shape[0] != first.shape[0]:
            got = f"{first.shape[0]} ({first.name!r}) and {tensor.shape[0]} ({tensor.name!r})"
            raise invalid(f"inputs: expected one batch size for all, got {got}")


def _check_outputs(request: InferRequest, signature: ModelSignature) -> None:
    for index, output in enumerate(request.outputs):
        if output.name not in signature.outputs:
            raise invalid(f"outputs[{index}].name: expected {one_of(signature.outputs)}, got {output.name!r}")


def elements_of(raw: memoryview) -> int | None:
    """How many elements a BYTES tensor has; None when a length is cut off or points behind the end."""
    count, at, end = 0, 0, len(raw)
    while at < end:
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
        count += 1
    return count if at == end else None


def written(shape: Shape) -> str:
    """A shape as Triton writes it."""
    return f"[{','.join(map(str, shape))}]"


def one_of(names: Iterable[str]) -> str:
    """The names to choose from."""
    known = sorted(names)
    return f"one of {', '.join(known)}" if known else "none"
