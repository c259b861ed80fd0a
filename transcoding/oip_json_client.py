"""The Open Inference Protocol's JSON from the other side: what a client writes and reads.

For backends that speak only REST, and for tests, where it closes the circle. It writes every tensor as binary data
unless told otherwise, which is exact for all datatypes.
"""

from __future__ import annotations

from typing import Any, TypeVar

from transcoding.json_tensors import to_json, to_raw
from transcoding.json_text import dumps, loads
from transcoding.message import Buffer, InferReply, InferRequest, Parameters, RequestedOutput, Tensor
from transcoding.status import Code, Fault, GatewayError
from transcoding.tensor import layout

T = TypeVar("T")


def encode_request(request: InferRequest, binary: bool = True) -> tuple[bytes, list[Buffer]]:
    """(JSON, binary tail) of a request; with `binary` False the tensors are in the JSON. Raises GatewayError (400) for
    a tensor that has no JSON form."""
    tail: list[Buffer] = []
    parameters: Parameters = dict(request.parameters or {})
    if request.binary_output:
        parameters["binary_data_output"] = True
    members = [b'"id":' + dumps(request.id)] if request.id else []
    if parameters:
        members.append(b'"parameters":' + dumps(parameters))
    members.append(b'"inputs":[' + b",".join(_input(tensor, binary, tail) for tensor in request.inputs) + b"]")
    if request.outputs:
        members.append(b'"outputs":' + dumps([_output(output) for output in request.outputs]))
    return b"{" + b",".join(members) + b"}", tail


def _input(tensor: Tensor, binary: bool, tail: list[Buffer]) -> bytes:
    head: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    parameters: Parameters = dict(tensor.parameters or {})
    if tensor.data is not None and binary:
        parameters["binary_data_size"] = len(tensor.data)
        tail.append(tensor.data)
    if parameters:
        head["parameters"] = parameters
    text = dumps(head)
    if tensor.data is None or binary:
        return text
    return text[:-1] + b',"data":' + to_json(tensor.data, layout(tensor.datatype, tensor.shape), tensor.name) + b"}"


def _output(output: RequestedOutput) -> dict[str, Any]:
    parameters: Parameters = dict(output.parameters or {})
    if output.binary is not None:
        parameters["binary_data"] = output.binary
    return {"name": output.name, "parameters": parameters} if parameters else {"name": output.name}


def decode_reply(body: bytes, header_length: int | None) -> InferReply:
    """The reply in a backend's body. Raises GatewayError (HTTP 502, the worker's fault)."""
    end = len(body) if header_length is None else header_length
    try:
        document = loads(body[:end])
        reply = InferReply(
            _typed(document["model_name"], str),
            _typed(document.get("model_version", ""), str),
            _typed(document.get("id", ""), str),
            _typed(document.get("parameters") or {}, dict) or None,
        )
        for item in document["outputs"]:
            tensor, end = _read_output(item, body, end)
            reply.outputs.append(tensor)
    except (GatewayError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"the worker's answer is not an inference response: {error}"
        raise GatewayError(Code.INTERNAL, text, http_status=502, fault=Fault.WORKER, executed=True) from None
    return reply


def _read_output(item: dict[str, Any], body: bytes, position: int) -> tuple[Tensor, int]:
    shape = tuple(_typed(dimension, int) for dimension in item["shape"])
    tensor = Tensor(_typed(item["name"], str), _typed(item["datatype"], str), shape)
    parameters = dict(item.get("parameters") or {})
    size = parameters.pop("binary_data_size", None)
    tensor.parameters = parameters or None
    if size is not None:
        if not 0 <= _typed(size, int) <= len(body) - position:
            raise ValueError(f"output '{tensor.name}' is cut off")
        tensor.data = body[position : position + size]
        return tensor, position + size
    if "data" in item:
        expected = layout(tensor.datatype, tensor.shape)
        tensor.data = to_raw(_typed(item["data"], list), expected, tensor.name, f"output '{tensor.name}'")
    return tensor, position


def _typed(value: Any, kind: type[T]) -> T:
    """The value, of exactly this type: a bool is no int. Raises TypeError."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
