"""Triton's `generate` and `generate_stream`: one flat JSON object in, one flat JSON object out.

Rules of Triton's `ConvertGenerateRequest` and `ExactMappingInput`: a key that names an input of the model is that
input, any other key is a parameter, and the object under `parameters` is read by the same rules. A reply has its
members sorted by name, one element as a scalar, more as a flat list.

Two things differ from Triton, because its gRPC has no form for them: `sequence_id`, `sequence_start`, `sequence_end`,
`priority` and `timeout` have their usual meaning, where Triton's REST makes them custom parameters of the model, and a
parameter that begins with `triton_` is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from transcoding.json_parameters import of_request
from transcoding.json_tensors import to_json, to_raw
from transcoding.json_text import dumps, loads, quote
from transcoding.message import Buffer, Content, InferReply, InferRequest, ModelSignature, Tensor
from transcoding.oip_json_reply import encode_error, layout_of, visible_parameters
from transcoding.status import GatewayError, invalid
from transcoding.tensor import layout

SEQUENCING = ("sequence_id", "sequence_start", "sequence_end")

__all__ = ["decode_request", "encode_error", "encode_reply", "sequence_of", "sequencing_of"]


def decode_request(body: Content, model: str, version: str, signature: ModelSignature) -> InferRequest:
    """The request in a body. Raises GatewayError (400)."""
    document = loads(body)
    if type(document) is not dict:
        raise invalid(f"request body: expected a JSON object, got {quote(document)}")
    request = InferRequest(model, version)
    nested = document.pop("parameters", {})
    if type(nested) is not dict:
        raise invalid(f"Expected JSON object for keyword: 'parameters': got {quote(nested)}")
    if "id" in document:
        request.id = _identifier(document.pop("id"))
    custom: dict[str, Any] = {}
    for name, value in [*document.items(), *nested.items()]:
        known = signature.inputs.get(name)
        if known is None:
            custom[name] = value
            continue
        if any(tensor.name == name for tensor in request.inputs):
            raise invalid(f"Converting keyword: 'parameters': input '{name}' already exists in request")
        request.inputs.append(_input(name, value, *known))
    request.parameters = of_request(custom)[0]
    return request


def sequencing_of(body: Content) -> dict[str, Any]:
    """What a body says of a sequence, `sequence_id`, `sequence_start` and `sequence_end`, before it is known whose
    inputs the rest are; nothing for a body that `decode_request` will refuse."""
    try:
        document = loads(body)
    except GatewayError:
        return {}
    if type(document) is not dict:
        return {}
    nested = document.get("parameters")
    both = {**document, **nested} if type(nested) is dict else document
    return {name: both[name] for name in SEQUENCING if name in both}


def sequence_of(parameters: Mapping[str, Any]) -> str:
    """The sequence that these name, "" for none."""
    value = parameters.get("sequence_id")
    return str(value) if value and type(value) in (int, str) else ""


def _identifier(value: Any) -> str:
    if type(value) is not str:
        raise invalid(f"id: expected a string, got {quote(value)}")
    return value


def _input(name: str, value: Any, datatype: str, dimensions: tuple[int, ...]) -> Tensor:
    data = value if type(value) is list else [value]
    shape = _shape(name, dimensions, len(data))
    return Tensor(name, datatype, shape, to_raw(data, layout(datatype, shape), name, name))


def _shape(name: str, dimensions: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The fixed dimensions are divided out of `count`, the innermost variable one takes the rest, the others are 1."""
    fixed = prod(dimension for dimension in dimensions if dimension != -1)
    rest, remainder = divmod(count, fixed) if fixed else (count, 0)
    shape = []
    for dimension in reversed(dimensions):
        if dimension == -1:
            dimension, rest = rest, 1
        shape.append(dimension)
    if remainder or rest != 1:
        raise invalid(f"The schema can not convert input '{name}' to tensor with proper shape")
    return tuple(reversed(shape))


def encode_reply(reply: InferReply) -> bytes:
    """The JSON of one reply. Raises GatewayError, see `json_tensors.to_json`."""
    members = {"model_name": dumps(reply.model), "model_version": dumps(reply.version)}
    if reply.id:
        members["id"] = dumps(reply.id)
    for name, value in visible_parameters(reply).items():
        members[name] = dumps(value)
    for tensor in reply.outputs:
        members[tensor.name] = _value(tensor.data or b"", tensor)
    return b"{" + b",".join(dumps(name) + b":" + members[name] for name in sorted(members)) + b"}"


def _value(raw: Buffer, tensor: Tensor) -> bytes:
    expected = layout_of(tensor.name, tensor.datatype, tensor.shape)
    text = to_json(raw, expected, tensor.name)
    return text[1:-1] if expected.count == 1 else text
