"""JSON requests and replies, against what a real Triton 2.51 answers and where this gateway means to differ."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.errors import error_from
from tests.support.hub import JSON_DATATYPES, replies, requests, same_data
from tests.support.json_requests import bodies
from transcoding.dialects import oip_grpc, oip_json
from transcoding.message import InferReply, InferRequest, RequestedOutput, Tensor
from transcoding.status import GatewayError


def decode(body: Any, header_length: int | None = None) -> InferRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return oip_json.decode_request(raw, header_length, "m", "")


def fp32(data: Any, shape: Any = (3,), **more: Any) -> dict[str, Any]:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": shape, "data": data}
    return {"inputs": [tensor | more]}


def error_of(body: Any, header_length: int | None = None) -> str:
    with pytest.raises(GatewayError) as error:
        decode(body, header_length)
    assert error.value.http_status == 400
    return error.value.message


# The circle: hub, JSON, hub, protobuf, hub.


@given(requests(JSON_DATATYPES, json=True), st.booleans())
def test_a_request_survives_json_and_protobuf(request: InferRequest, binary: bool) -> None:
    head, tail = oip_json.encode_request(request, binary)
    read = oip_json.decode_request(b"".join((head, *tail)), len(head), request.model, request.version)
    assert all(map(same_data, request.inputs, read.inputs))
    for mine, other in zip(request.inputs, read.inputs, strict=True):
        mine.data = other.data
    assert read == request
    assert oip_grpc.decode_request(b"".join(oip_grpc.encode_request(read))) == request


@given(replies(JSON_DATATYPES, json=True), st.booleans())
def test_a_reply_survives_protobuf_and_json(reply: InferReply, binary: bool) -> None:
    read = oip_grpc.decode_reply(b"".join(oip_grpc.encode_reply(reply)))
    head, tail = oip_json.encode_reply(read, InferRequest("m", binary_output=binary))
    back = oip_json.decode_reply(b"".join((head, *tail)), len(head))
    assert all(map(same_data, reply.outputs, back.outputs))
    for mine, other in zip(reply.outputs, back.outputs, strict=True):
        mine.data = other.data
    assert back == reply


@given(replies(), st.booleans())
def test_binary_replies_hold_every_datatype_bit_for_bit(reply: InferReply, listed: bool) -> None:
    request = InferRequest("m", binary_output=not listed)
    if listed:
        request.outputs = [RequestedOutput(tensor.name, None, True) for tensor in reply.outputs]
    head, tail = oip_json.encode_reply(reply, request)
    assert oip_json.decode_reply(b"".join((head, *tail)), len(head)) == reply


@given(st.one_of(bodies(), st.binary(max_size=60)), st.none() | st.integers(-5, 300))
def test_any_body_is_a_request_or_a_client_error(body: bytes, header_length: int | None) -> None:
    error = error_from(lambda: oip_grpc.encode_request(oip_json.decode_request(body, header_length, "m", "")))
    assert error is None or error.http_status == 400


# Requests as a real Triton takes them.


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [1, [2, [3]], 4], [[[[1]]], 2, [[3, 4]]]])
def test_data_are_flat_nested_or_ragged(data: Any) -> None:
    assert decode(fp32(data, (4,))).inputs[0].data == np.float32([1, 2, 3, 4]).tobytes()


def test_nan_and_the_infinities_are_literals() -> None:
    body = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[3],"data":[NaN,Infinity,-Infinity]}]}'
    array = np.frombuffer(decode(body).inputs[0].data, "<f4")
    assert np.array_equal(array, np.float32([np.nan, np.inf, -np.inf]), equal_nan=True)


def test_zero_elements_and_an_empty_list() -> None:
    assert decode(fp32([], (0,))).inputs[0].data == b""


def test_unknown_keys_are_ignored() -> None:
    request = decode({"zzz": 1, **fp32([1, 2, 3], zzz={"a": []})})
    assert request == InferRequest("m", inputs=[Tensor("INPUT0", "FP32", (3,), np.float32([1, 2, 3]).tobytes())])


def test_options_are_read() -> None:
    request = decode(
        {
            "id": "abc",
            "parameters": {"a": 1, "sequence_id": 2**64 - 1, "sequence_start": True, "binary_data_output": True},
            "outputs": [
                {"name": "OUTPUT0", "parameters": {"binary_data": True}},
                {"name": "OUTPUT1", "parameters": {"classification": 3}},
                {"name": "OUTPUT2"},
            ],
            **fp32([1, 2, 3]),
        }
    )
    assert request.id == "abc"
    assert request.parameters == {"a": 1, "sequence_id": 2**64 - 1, "sequence_start": True}
    assert request.binary_output
    assert request.outputs == [
        RequestedOutput("OUTPUT0", None, True),
        RequestedOutput("OUTPUT1", {"classification": 3}),
        RequestedOutput("OUTPUT2"),
    ]


def test_shared_memory_passes_as_parameters() -> None:
    tensor = {"name": "x", "datatype": "INT8", "shape": [4]}
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
    request = decode({"inputs": [tensor | {"parameters": shared}]})
    assert request.inputs == [Tensor("x", "INT8", (4,), None, shared)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "request body: expected JSON, .* at byte 0"),
        (b"not json", "request body: expected JSON, .* at byte 0"),
        (b"{}", "inputs: expected an array, it is missing"),
        (b"[]", "request body: expected a JSON object, got an array"),
        (b"1", "request body: expected a JSON object, got 1"),
        ({"inputs": None}, "inputs: expected an array, got null"),
        ({"inputs": [1]}, r"inputs\[0\]: expected an object, got 1"),
        ({"inputs": [{}]}, r"inputs\[0\].name: expected a string, it is missing"),
        (fp32([1], name=1), r"inputs\[0\].name: expected a string, got 1"),
        (fp32([1], datatype=None), r"inputs\[0\].datatype: expected a string, got null"),
        (fp32([1], datatype="FOO"), r"inputs\[0\].datatype: expected one of BOOL, .*, got 'FOO'"),
        (fp32([1], shape=3), r"inputs\[0\].shape: expected an array, got 3"),
        (fp32([1], (1.0,)), r"inputs\[0\].shape\[0\]: expected an integer ≥ 0, got 1.0"),
        (fp32([1], (1, True)), r"inputs\[0\].shape\[1\]: expected an integer ≥ 0, got true"),
        (fp32([1], (1, -1)), r"inputs\[0\].shape\[1\]: expected an integer ≥ 0, got -1"),
        (fp32([1], (2**62, 2)), r"inputs\[0\].shape: the tensor would have more than 2\^63 - 1 bytes"),
        (fp32([1], (1,) * 10_000), r"inputs\[0\].shape: expected at most 32 dimensions, got 10000"),
        (fp32(1), r"inputs\[0\].data: expected an array, got 1"),
        (fp32("abc"), r'inputs\[0\].data: expected an array, got "abc"'),
        (fp32({}), r"inputs\[0\].data: expected an array, got an object"),
        (fp32([1, 2]), r"inputs\[0\].data: expected 3 elements for shape \[3\], got 2"),
        (fp32([1, "2", 3]), r'inputs\[0\].data\[1\]: expected a number that FP32 can hold, got "2"'),
        (fp32([1, None, 3]), r"inputs\[0\].data\[1\]: expected a number that FP32 can hold, got null"),
        (fp32([1, 1e39, 3]), r"inputs\[0\].data\[1\]: expected a number that FP32 can hold, got 1e\+39"),
        (fp32([1, 300, 3], datatype="UINT8"), r"inputs\[0\].data\[1\]: .* in \[0, 255\] for UINT8, got 300"),
        (fp32([1, 2**64, 3], datatype="UINT64"), r"inputs\[0\].data\[1\]: expected an integer .*"),
        ({**fp32([1, 2, 3]), "id": 1}, "id: expected a string, got 1"),
        ({**fp32([1, 2, 3]), "parameters": []}, "parameters: expected an object, got an array"),
        ({**fp32([1, 2, 3]), "outputs": {}}, "outputs: expected an array, got an object"),
        ({**fp32([1, 2, 3]), "outputs": ["a"]}, r'outputs\[0\]: expected an object, got "a"'),
        ({**fp32([1, 2, 3]), "outputs": [{}]}, r"outputs\[0\].name: expected a string, it is missing"),
        (
            {**fp32([1, 2, 3]), "outputs": [{"name": "a", "parameters": {"classification": -1}}]},
            r"outputs\[0\].parameters.classification: expected an integer > 0, got -1",
        ),
        ({"inputs": [1] * 5000}, "inputs: expected at most 4096, got 5000"),
        ({**fp32([1, 2, 3]), "outputs": [1] * 5000}, "outputs: expected at most 4096, got 5000"),
        (fp32([1], parameters=1), r"inputs\[0\].parameters: expected an object, got 1"),
        (fp32([1], parameters={"binary_data_size": 1.5}), r"inputs\[0\].parameters.binary_data_size: expected .*"),
        (b'{"inputs":[{"name":"\\ud800"}]}', "request body: expected JSON, .* at byte [0-9]+"),
        (b'{"inputs":' + b"[" * 2000, "request body: JSON nested deeper than 100 levels"),
    ],
)
def test_a_mistake_names_its_field(body: Any, message: str) -> None:
    got = error_of(body)
    assert re.fullmatch(message, got), got


def test_mistakes_that_triton_words_have_its_words() -> None:
    assert error_of(fp32([1], datatype="FP16", shape=[1])) == (
        "receiving FP16 data via JSON is not supported. Please use the binary data format for input INPUT0"
    )
    sources = (
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
        "'shared_memory_region' in 'parameters'. But "
    )
    assert error_of({"inputs": [{"name": "x", "datatype": "INT8", "shape": [1]}]}) == sources + "no field is set"
    assert error_of(fp32([1], parameters={"binary_data_size": 4})) == sources + "set 'data' 'binary_data_size'"
    assert error_of({**fp32([1, 2, 3]), "parameters": {"a": None}}) == (
        "parameter 'a' has invalid type. It should be either 'int', 'bool', or 'string'."
    )


# The binary tensor extension.


def binary(size: int, tail: bytes, **more: Any) -> tuple[bytes, int]:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + tail, len(head)


def test_binary_inputs_are_taken_from_behind_the_json() -> None:
    body, length = binary(12, b"0123456789ab")
    assert decode(body, length).inputs[0].data == b"0123456789ab"


def test_mixed_inputs() -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "a", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": 2}},
                {"name": "b", "datatype": "INT8", "shape": [2], "data": [3, 4]},
                {"name": "c", "datatype": "INT8", "shape": [9000], "parameters": {"binary_data_size": 9000}},
            ]
        }
    ).encode()
    body = head + b"12" + b"x" * 9000
    data = [tensor.data for tensor in decode(body, len(head)).inputs]
    assert data[:2] == [b"12", b"\x03\x04"]
    assert isinstance(data[2], memoryview)
    assert data[2].obj is body
    assert bytes(data[2]) == b"x" * 9000


@pytest.mark.parametrize(
    ("size", "tail", "message"),
    [
        (12, b"12345678", "unexpected size for input 'INPUT0', expecting 4 additional bytes for model 'm'"),
        (4, b"12345678", "unexpected additional input data for model 'm'"),
        (2**62, b"12345678", "unexpected size for input 'INPUT0', expecting 4611686018427387896 additional .*"),
    ],
)
def test_a_tail_of_the_wrong_size_has_tritons_words(size: int, tail: bytes, message: str) -> None:
    body, length = binary(size, tail)
    assert re.fullmatch(message, error_of(body, length))


@pytest.mark.parametrize("length", [0, -1, 10**6])
def test_a_header_length_out_of_range_has_tritons_words(length: int) -> None:
    body, _ = binary(12, b"0123456789ab")
    assert error_of(body, length) == f"inference header size should be in range (0, {len(body)}), got: {length}"


def test_binary_bytes_without_the_header_are_no_json() -> None:
    body, _ = binary(12, b"0123456789ab")
    assert error_of(body).startswith("request body: expected JSON, ")
    body, _ = binary(12, b"")
    assert error_of(body) == "unexpected size for input 'INPUT0', expecting 12 additional bytes for model 'm'"


def test_a_binary_input_of_no_bytes() -> None:
    body, length = binary(0, b"")
    assert decode(body, length).inputs[0].data == b""


# Both readers of JSON see the same extension.


def test_large_json_is_read_the_same_way() -> None:
    data = np.arange(5000, dtype=np.float32)
    body = orjson.dumps(
        {
            "inputs": [
                {"name": "a", "datatype": "FP32", "shape": [5000], "data": data},
                {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["é"]},
                {"name": "c", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": 2}},
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
            "id": "7",
            "parameters": {"p": 2**63},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    request = decode(body + b"zz", len(body))
    assert [bytes(tensor.data) for tensor in request.inputs] == [data.tobytes(), b"\x02\0\0\0\xc3\xa9", b"zz"]
    assert (request.id, request.parameters) == ("7", {"p": 2.0**63})
    assert request.outputs == [RequestedOutput("y", None, True)]
    short = body.replace(b"5000", b"5001")
    assert error_of(short + b"zz", len(body)) == "inputs[0].data: expected 5001 elements for shape [5001], got 5000"


# Replies.

OUT = Tensor("OUTPUT0", "FP32", (3,), np.float32([1, 2, 3]).tobytes())
JSON = b'{"model_name":"id_fp32","model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[3],%s}]}'
DATA = JSON % b'"data":[1.0,2.0,3.0]'
BINARY = JSON % b'"parameters":{"binary_data_size":12}'


@pytest.mark.parametrize(
    ("binary_output", "outputs", "head"),
    [
        (False, [], DATA),
        (True, [], BINARY),
        (True, [RequestedOutput("OUTPUT0")], DATA),
        (False, [RequestedOutput("OUTPUT0", None, True)], BINARY),
        (True, [RequestedOutput("OUTPUT0", None, False)], DATA),
        (True, [RequestedOutput("OTHER")], BINARY),
    ],
)
def test_which_outputs_are_binary_is_tritons_rule(
    binary_output: bool, outputs: list[RequestedOutput], head: bytes
) -> None:
    request = InferRequest("id_fp32", outputs=outputs, binary_output=binary_output)
    made, tail = oip_json.encode_reply(InferReply("id_fp32", "1", outputs=[OUT]), request)
    assert made == head
    assert tail == ([OUT.data] if head is BINARY else [])


def test_an_id_comes_first_and_parameters_before_the_outputs() -> None:
    reply = InferReply("m", "1", "abc", {"a": 1.5, "triton_final_response": True}, [OUT])
    head, _ = oip_json.encode_reply(reply, InferRequest("m"))
    assert head.startswith(
        b'{"id":"abc","model_name":"m","model_version":"1","parameters":{"a":1.5},"outputs":[{"name":"OUTPUT0"'
    )
    reply = InferReply("m", "1", "", {"triton_final_response": True})
    assert oip_json.encode_reply(reply, InferRequest("m"))[0] == b'{"model_name":"m","model_version":"1","outputs":[]}'


def test_no_elements_in_binary_are_json_with_a_size_of_zero() -> None:
    reply = InferReply("id_fp32", "1", outputs=[Tensor("OUTPUT0", "FP32", (0,), b"")])
    assert oip_json.encode_reply(reply, InferRequest("id_fp32", binary_output=True)) == (
        b'{"model_name":"id_fp32","model_version":"1","outputs":'
        b'[{"name":"OUTPUT0","datatype":"FP32","shape":[0],"parameters":{"binary_data_size":0}}]}',
        [],
    )


def test_mixed_outputs_keep_their_order_in_the_tail() -> None:
    outputs = [Tensor(name, "INT8", (1,), name.encode()) for name in "abc"]
    request = InferRequest("m", outputs=[RequestedOutput(name, None, name != "b") for name in "abc"])
    head, tail = oip_json.encode_reply(InferReply("m", "1", outputs=outputs), request)
    assert b"".join(tail) == b"ac"
    assert orjson.loads(head)["outputs"][1] == {"name": "b", "datatype": "INT8", "shape": [1], "data": [98]}


def test_an_output_in_shared_memory_has_no_data() -> None:
    request = InferRequest("m", outputs=[RequestedOutput("a", {"shared_memory_region": "r"})], binary_output=True)
    head, tail = oip_json.encode_reply(InferReply("m", "1", outputs=[Tensor("a", "INT8", (1,), b"")]), request)
    assert orjson.loads(head)["outputs"] == [{"name": "a", "datatype": "INT8", "shape": [1]}]
    assert tail == []


def test_a_classified_output_is_text() -> None:
    raw = b"\x0a\x00\x00\x000.900000:1"
    request = InferRequest("m", outputs=[RequestedOutput("a", {"classification": 1})])
    head, _ = oip_json.encode_reply(InferReply("m", "1", outputs=[Tensor("a", "BYTES", (1,), raw)]), request)
    assert orjson.loads(head)["outputs"][0]["data"] == ["0.900000:1"]


def test_constants_in_a_reply_are_tritons_literals() -> None:
    tensor = Tensor("OUTPUT0", "FP32", (3,), np.float32([np.nan, np.inf, -np.inf]).tobytes())
    head, _ = oip_json.encode_reply(InferReply("id_fp32", "1", outputs=[tensor]), InferRequest("id_fp32"))
    assert head == JSON % b'"data":[NaN,Infinity,-Infinity]'


@pytest.mark.parametrize(("datatype", "shape"), [("WAT", (1,)), ("INT8", (-1,)), ("INT8", (2,)), ("BYTES", (1,))])
def test_a_reply_that_makes_no_sense_is_502(datatype: str, shape: tuple[int, ...]) -> None:
    reply = InferReply("m", "1", outputs=[Tensor("a", datatype, shape, b"1")])
    with pytest.raises(GatewayError) as error:
        oip_json.encode_reply(reply, InferRequest("m"))
    assert error.value.http_status == 502


def test_errors_are_one_json_object_whatever_they_say() -> None:
    assert oip_json.encode_error('a "b"') == b'{"error":"a \\"b\\""}'
    assert json.loads(oip_json.encode_error("x\ud800y")) == {"error": "x?y"}
