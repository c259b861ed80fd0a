"""A body that is nothing but the only input's bytes: Triton's raw binary requests.

A client sends them with `Inference-Header-Content-Length: 0`. The protobuf form has nothing of the kind, so the shape
is deduced here, from the model's signature, as Triton's core does (`InferenceRequest::Normalize`).
"""

from __future__ import annotations

from math import prod

from transcoding.message import Buffer, Content, InferRequest, ModelSignature, Tensor
from transcoding.status import invalid
from transcoding.tensor import layout


def decode_raw(body: Content, model: str, version: str, metadata: ModelSignature) -> InferRequest:
    """The request that `body` stands for.

    The shape is deduced for a batch of one: at most one variable dimension takes what the others leave. A BYTES input
    is of shape [1]: one element, whose length is put before it. All outputs come back binary. Raises GatewayError
    (400)."""
    if len(metadata.inputs) != 1:
        raise invalid(
            "Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(metadata.inputs)} inputs in '{model}' model configuration"
        )
    ((name, (datatype, dimensions)),) = metadata.inputs.items()
    shape = (1, *dimensions[1:]) if metadata.max_batch_size > 0 else dimensions
    if datatype == "BYTES":
        if any(dimension != 1 for dimension in shape):
            raise invalid(f"For BYTE datatype raw input '{name}', the model must have input shape [1]")
        data: Buffer = len(body).to_bytes(4, "little") + body
    else:
        shape = _deduce(shape, len(body) // layout(datatype, ()).size, name)
        expected = layout(datatype, shape).size
        if len(body) != expected:
            raise invalid(
                f"input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {len(body)}"
            )
        data = body if isinstance(body, bytes) else memoryview(body)
    return InferRequest(model, version, inputs=[Tensor(name, datatype, shape, data)], binary_output=True)


def _deduce(shape: tuple[int, ...], count: int, name: str) -> tuple[int, ...]:
    """The shape with its one variable dimension filled so that it has `count` elements, rounded down."""
    if shape.count(-1) > 1:
        raise invalid(
            f"The shape of the raw input '{name}' can not be deduced because there are more than one "
            "variable-sized dimension"
        )
    fixed = prod(dimension for dimension in shape if dimension != -1)
    return tuple(dimension if dimension != -1 else count // max(fixed, 1) for dimension in shape)
