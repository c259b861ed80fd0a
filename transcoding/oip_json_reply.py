"""A reply as the Open Inference Protocol's JSON: what repeats from reply to reply is looked up, numbers are written."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from transcoding.json_tensors import to_json
from transcoding.json_text import dumps
from transcoding.message import Buffer, InferReply, InferRequest, Parameters, RequestedOutput, Tensor
from transcoding.status import Code, Fault, GatewayError
from transcoding.tensor import Layout, layout


def encode_reply(reply: InferReply, request: InferRequest) -> tuple[bytes, list[Buffer]]:
    """(JSON, binary tail) of a reply. With an empty tail the body is `application/json`; otherwise
    `application/octet-stream`, and `Inference-Header-Content-Length` is the length of the JSON.

    Binary are the outputs that the request lists with `binary_data`, and with `binary_data_output` those that it does
    not list. Raises GatewayError, see `json_tensors.to_json`."""
    listed = {output.name: output for output in request.outputs} if request.outputs else None
    default = request.binary_output
    tail: list[Buffer] = []
    outputs = []
    for tensor in reply.outputs:
        wanted = listed.get(tensor.name) if listed else None
        if (wanted.binary if wanted else default) or tensor.parameters or (wanted and wanted.parameters):
            outputs.append(_special_output(tensor, wanted, default, tail))
        else:
            prefix, expected = _known_output(tensor.name, tensor.datatype, tensor.shape)
            outputs.append(prefix + to_json(tensor.data or b"", expected, tensor.name) + b"}")
    return b"".join((_reply_head(reply), b",".join(outputs), b"]}")), tail


def layout_of(name: str, datatype: str, shape: tuple[int, ...]) -> Layout:
    """The layout of a worker's output. Raises GatewayError (HTTP 502)."""
    try:
        return layout(datatype, shape)
    except ValueError as error:
        text = f"the worker's output '{name}' is malformed: {error}"
        raise GatewayError(Code.INTERNAL, text, http_status=502, fault=Fault.WORKER, executed=True) from None


@lru_cache(maxsize=4096)
def _known_output(name: str, datatype: str, shape: tuple[int, ...]) -> tuple[bytes, Layout]:
    """The JSON of an output up to its data, and the layout of those."""
    return _describe(name, datatype, shape) + b',"data":', layout_of(name, datatype, shape)


def _describe(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1]


def _special_output(tensor: Tensor, wanted: RequestedOutput | None, default: bool, tail: list[Buffer]) -> bytes:
    """An output that is binary, in shared memory, or has parameters of its own."""
    parameters: Parameters = dict(tensor.parameters or {})
    asked = (wanted and wanted.parameters) or {}
    shared = "shared_memory_region" in asked or "shared_memory_region" in parameters
    binary = not shared and bool(wanted.binary if wanted else default)
    if binary:
        data = tensor.data or b""
        parameters["binary_data_size"] = len(data)
        if len(data):
            tail.append(data)
    text = _describe(tensor.name, tensor.datatype, tensor.shape)
    if parameters:
        text += b',"parameters":' + dumps(parameters)
    if not binary and not shared:
        text += b',"data":' + to_json(
            tensor.data or b"", layout_of(tensor.name, tensor.datatype, tensor.shape), tensor.name
        )
    return text + b"}"


def _reply_head(reply: InferReply) -> bytes:
    if not reply.id and not reply.parameters:
        return _plain_head(reply.model, reply.version)
    head: dict[str, Any] = {"id": reply.id} if reply.id else {}
    head |= {"model_name": reply.model, "model_version": reply.version}
    parameters = visible_parameters(reply)
    if parameters:
        head["parameters"] = parameters
    return dumps(head)[:-1] + b',"outputs":['


@lru_cache(maxsize=1024)
def _plain_head(model: str, version: str) -> bytes:
    return orjson.dumps({"model_name": model, "model_version": version})[:-1] + b',"outputs":['


def visible_parameters(reply: InferReply) -> Parameters:
    """A reply's parameters without `triton_final_response`, which Triton's gRPC adds to streams and its REST never
    shows."""
    return {name: value for name, value in (reply.parameters or {}).items() if name != "triton_final_response"}


def encode_error(message: str) -> bytes:
    """`{"error": "..."}`, the body of every failure."""
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def encode_problem(error: GatewayError, title: str) -> bytes:
    """The same with the members of a problem detail beside it (RFC 9457 §3.1). A problem without a type of its own has
    no meaning beyond its status (§4.2.1)."""
    text = error.message.encode("utf-8", "replace").decode()
    status = {"type": "about:blank", "title": title, "status": error.http_status, "detail": text}
    return orjson.dumps({"error": text, **status, **(error.problem or {})})
