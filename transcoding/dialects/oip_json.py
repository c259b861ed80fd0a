"""The Open Inference Protocol as JSON, with the binary tensor data extension: Triton's REST form of inference.

A body is JSON, or JSON of `Inference-Header-Content-Length` bytes and behind it the raw bytes of the inputs that say
`binary_data_size`, in their order; a reply likewise. Mistakes in a request are 400 and name their field, where Triton
says 500 for what its JSON reader finds. What only the model can judge (unknown inputs, wrong datatypes, duplicate
names) is left to the worker, whose words a client may know.
"""

from __future__ import annotations

from typing import Any

from transcoding import json_known, json_large, json_parameters
from transcoding.json_tensors import pack, to_raw, wrong_count
from transcoding.json_text import loads, quote
from transcoding.message import Buffer, Content, InferRequest, RequestedOutput, Tensor
from transcoding.oip_json_client import decode_reply, encode_request
from transcoding.oip_json_reply import encode_error, encode_problem, encode_reply
from transcoding.raw_input import decode_raw
from transcoding.status import GatewayError, invalid
from transcoding.tensor import MAX_TENSORS, Layout, layout

__all__ = [
    "decode_raw", "decode_reply", "decode_request", "encode_error", "encode_problem", "encode_reply", "encode_request",
]  # fmt: skip

_LARGE = 8192  # bytes from which a binary tensor is handed on as a view instead of being copied
_INT = frozenset((int,))
_DATA_SOURCES = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
    "'shared_memory_region' in 'parameters'. But "
)


def decode_request(body: Content, header_length: int | None, model: str, version: str) -> InferRequest:
    """The request in a body. `header_length` is `Inference-Header-Content-Length`, None when the header is absent; a
    body with 0 there is raw, for `decode_raw`. Raises GatewayError (400)."""
    if header_length is None and len(body) <= json_known.LARGEST and isinstance(body, bytes):
        return json_known.decode(body, model, version) or _decode_new(body, model, version)
    return _decode_exactly(body, header_length, model, version)


def _decode_new(body: bytes, model: str, version: str) -> InferRequest:
    """A body that has to be read as a whole, and whose like may come again."""
    request = _decode_exactly(body, None, model, version)
    json_known.learn(body, request, lambda probe: _decode_exactly(probe, None, model, version))
    return request


def _decode_exactly(body: Content, header_length: int | None, model: str, version: str) -> InferRequest:
    tail: _Tail | None = None
    head = body
    if header_length is not None:
        if not 0 < header_length <= len(body):
            raise invalid(f"inference header size should be in range (0, {len(body)}), got: {header_length}")
        tail = _Tail(body, header_length, model)
        head = body[:header_length]
    document = json_large.read(head) if len(head) >= json_large.WORTHWHILE else None
    request = _request(loads(head) if document is None else document, tail, model, version)
    if tail is not None:
        tail.require_end()
    return request


class _Tail:
    """The binary tensors behind the JSON, taken in order."""

    __slots__ = ("body", "model", "position")

    def __init__(self, body: Content, position: int, model: str) -> None:
        self.body = body
        self.position = position
        self.model = model

    def take(self, size: int, name: str) -> Buffer:
        start, stop = self.position, self.position + size
        missing = stop - len(self.body)
        if missing > 0:
            raise invalid(
                f"unexpected size for input '{name}', expecting {missing} additional bytes for model '{self.model}'"
            )
        self.position = stop
        return bytes(self.body[start:stop]) if size < _LARGE else memoryview(self.body)[start:stop]

    def require_end(self) -> None:
        if self.position != len(self.body):
            raise invalid(f"unexpected additional input data for model '{self.model}'")


def _request(document: Any, tail: _Tail | None, model: str, version: str) -> InferRequest:
    if type(document) is not dict:
        raise invalid(f"request body: expected a JSON object, got {quote(document)}")
    items = document.get("inputs")
    if type(items) is not list:
        raise _wrong(document, "", "inputs", "an array")
    if len(items) > MAX_TENSORS:
        raise invalid(f"inputs: expected at most {MAX_TENSORS}, got {len(items)}")
    request = InferRequest(model, version, "", None, [], [], False)
    inputs = request.inputs
    for item in items:
        inputs.append(_plain_input(item) or _input(item, len(inputs), tail or _Tail(b"", 0, model)))
    if len(document) > 1:
        _read_options(document, request)
    return request


def _read_options(document: dict[str, Any], request: InferRequest) -> None:
    identifier = document.get("id", "")
    if type(identifier) is not str:
        raise _wrong(document, "", "id", "a string")
    request.id = identifier
    if "parameters" in document:
        request.parameters, request.binary_output = json_parameters.of_request(document["parameters"])
    outputs = document.get("outputs", [])
    if type(outputs) is not list:
        raise _wrong(document, "", "outputs", "an array")
    if len(outputs) > MAX_TENSORS:
        raise invalid(f"outputs: expected at most {MAX_TENSORS}, got {len(outputs)}")
    request.outputs = [_requested_output(item, f"outputs[{index}]") for index, item in enumerate(outputs)]


def _wrong(item: dict[str, Any], where: str, key: str, expected: str) -> GatewayError:
    got = f"got {quote(item[key])}" if key in item else "it is missing"
    return invalid(f"{where}{key}: expected {expected}, {got}")


def _requested_output(item: Any, where: str) -> RequestedOutput:
    if type(item) is not dict:
        raise invalid(f"{where}: expected an object, got {quote(item)}")
    name = item.get("name")
    if type(name) is not str:
        raise _wrong(item, f"{where}.", "name", "a string")
    if "parameters" not in item:
        return RequestedOutput(name)
    return json_parameters.of_output(name, item["parameters"], f"{where}.parameters")


def _plain_input(item: Any) -> Tensor | None:
    """The usual input, which is right and has its data in the JSON; None for every other."""
    try:
        name, datatype, dimensions, data = item["name"], item["datatype"], item["shape"], item["data"]
        if type(dimensions) is not list or {*map(type, dimensions)} - _INT or type(data) is not list:
            return None
        shape = tuple(dimensions)
        raw = pack(data, layout(datatype, shape))
    except (KeyError, TypeError, ValueError):  # `_input` finds the words for it
        return None
    if raw is None or type(name) is not str or "parameters" in item:
        return None
    return Tensor(name, datatype, shape, raw)


def _input(item: Any, index: int, tail: _Tail) -> Tensor:
    """Any input, with all its checks. Raises GatewayError (400)."""
    if type(item) is not dict:
        raise invalid(f"inputs[{index}]: expected an object, got {quote(item)}")
    name, datatype, dimensions = item.get("name"), item.get("datatype"), item.get("shape")
    if (
        type(name) is not str
        or type(datatype) is not str
        or type(dimensions) is not list
        or {*map(type, dimensions)} - _INT
    ):
        raise _explain_input(item, f"inputs[{index}].")
    shape = tuple(dimensions)
    try:
        expected = layout(datatype, shape)
    except ValueError as error:
        raise invalid(f"inputs[{index}].{error}") from None
    return _input_from(item, expected, index, tail)


def _explain_input(item: dict[str, Any], where: str) -> GatewayError:
    for key, kind, expected in (("name", str, "a string"), ("datatype", str, "a string"), ("shape", list, "an array")):
        if type(item.get(key)) is not kind:
            return _wrong(item, where, key, expected)
    dimension = next(index for index, value in enumerate(item["shape"]) if type(value) is not int)
    got = quote(item["shape"][dimension])
    return invalid(f"{where}shape[{dimension}]: expected an integer ≥ 0, got {got}")


def _input_from(item: dict[str, Any], expected: Layout, index: int, tail: _Tail) -> Tensor:
    """An input with parameters, whose data may be in the body's tail or in shared memory, or with numbers that were
    read already."""
    where = f"inputs[{index}]"
    tensor = Tensor(item["name"], item["datatype"], expected.shape)
    size: int | None = None
    if "parameters" in item:
        tensor.parameters, size = json_parameters.of_input(item["parameters"], f"{where}.parameters")
    shared = tensor.parameters is not None and "shared_memory_region" in tensor.parameters
    sources = (("'data'", "data" in item), ("'binary_data_size'", size is not None), ("'shared_memory_region'", shared))
    named = [source for source, is_set in sources if is_set]
    if len(named) != 1:
        raise invalid(_DATA_SOURCES + (f"set {' '.join(named)}" if named else "no field is set"))
    if size is not None:
        tensor.data = tail.take(size, tensor.name)
    elif not shared:
        tensor.data = _data(item["data"], expected, tensor.name, f"{where}.data")
    return tensor


def _data(data: Any, expected: Layout, name: str, where: str) -> Buffer:
    if type(data) is json_large.Packed:
        if data.elements != expected.count:
            raise wrong_count(data.elements, expected, where)
        return data.raw
    if type(data) is not list:
        raise invalid(f"{where}: expected an array, got {quote(data)}")
    return to_raw(data, expected, name, where)
