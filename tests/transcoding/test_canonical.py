"""The same question has one digest in every dialect, and any other question another."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.support import hub
from transcoding import oip_json_client
from transcoding.canonical import DIGEST_BYTES, IGNORED, digest_message, digest_request, input_bytes, join_texts
from transcoding.dialects import oip_grpc, oip_json
from transcoding.message import InferRequest, RequestedOutput, Tensor
from transcoding.tensor import join_elements

pb: Any = service_pb2
CONTEXT = join_texts(("tenant", "acme", "p", "m", "1"))


def key(request: InferRequest, context: bytes = CONTEXT) -> bytes:
    return digest_request(request, context)


def a_request(**changes: Any) -> InferRequest:
    request = InferRequest(
        "m",
        "1",
        "id",
        {"temperature": 1.5},
        [Tensor("A", "INT32", (1, 2), struct.pack("<2i", 1, 2)), Tensor("B", "FP32", (1,), struct.pack("<f", 0.0))],
        [RequestedOutput("OUT", {"classification": 2})],
    )
    return msgspec.structs.replace(request, **changes)


def as_json(request: InferRequest, binary: bool) -> InferRequest:
    text, tail = oip_json_client.encode_request(request, binary)
    return oip_json.decode_request(text + b"".join(tail), len(text) if tail else None, request.model, request.version)


def as_grpc(request: InferRequest) -> InferRequest:
    return oip_grpc.decode_request(b"".join(oip_grpc.encode_request(request)))


@given(hub.requests(json=True, datatypes=hub.JSON_DATATYPES))
def test_json_binary_and_grpc_ask_the_same(request: InferRequest) -> None:
    expected = key(request)
    assert key(as_grpc(request)) == key(as_json(request, binary=True)) == expected
    text = as_json(request, binary=False)
    # a NaN's payload has no JSON form: then it is another question
    assume([tensor.data for tensor in text.inputs] == [tensor.data for tensor in request.inputs])
    assert key(text) == expected


@given(hub.requests())
def test_all_datatypes_over_grpc_and_binary(request: InferRequest) -> None:
    assert key(as_grpc(request)) == key(as_json(request, binary=True)) == key(request)


def test_typed_contents_are_the_same_as_raw_ones() -> None:
    typed = pb.ModelInferRequest(model_name="m")
    tensor = typed.inputs.add(name="A", datatype="INT32", shape=[2])
    tensor.contents.int_contents.extend([1, -2])
    raw = pb.ModelInferRequest(model_name="m")
    raw.inputs.add(name="A", datatype="INT32", shape=[2])
    raw.raw_input_contents.append(struct.pack("<2i", 1, -2))
    decoded = [oip_grpc.decode_request(each.SerializeToString()) for each in (typed, raw)]
    assert key(decoded[0]) == key(decoded[1])


@given(hub.requests(), st.randoms())
def test_what_does_not_change_the_answer_does_not_change_the_key(request: InferRequest, random: Any) -> None:
    names = {tensor.name for tensor in request.inputs}
    assume(len(names) == len(request.inputs))
    shuffled = list(request.inputs)
    random.shuffle(shuffled)
    other = msgspec.structs.replace(
        request,
        id="another",
        inputs=shuffled,
        parameters={**dict.fromkeys(IGNORED, 1), **(request.parameters or {})},
        binary_output=True,
    )
    for name in IGNORED:
        other.parameters[name] = 7  # type: ignore[index]
    assert key(other) == key(request)


@given(hub.requests(), hub.requests())
def test_other_questions_have_other_keys(one: InferRequest, other: InferRequest) -> None:
    def asked(request: InferRequest) -> Any:
        parameters = {name: value for name, value in (request.parameters or {}).items() if name not in IGNORED}
        inputs = sorted(request.inputs, key=lambda tensor: tensor.name)
        outputs = [(each.name, _exactly(each.parameters)) for each in request.outputs]
        return inputs, outputs, _exactly(parameters)

    assert (key(one) == key(other)) == (asked(one) == asked(other))


def _exactly(parameters: Any) -> Any:
    """With types: to Python 1, 1.0 and True are equal."""
    return sorted((name, type(value).__name__, repr(value)) for name, value in (parameters or {}).items())


def _with_input(**changes: Any) -> InferRequest:
    request = a_request()
    return msgspec.structs.replace(
        request, inputs=[msgspec.structs.replace(request.inputs[0], **changes), request.inputs[1]]
    )


NAN = struct.pack("<I", 0x7FC00000)
DIFFERENT = {
    "name": _with_input(name="C"),
    "datatype": _with_input(datatype="UINT32"),
    "shape": _with_input(shape=(2, 1)),
    "rank": _with_input(shape=(2,)),
    "value": _with_input(data=struct.pack("<2i", 1, 3)),
    "minus zero": a_request(inputs=[a_request().inputs[0], Tensor("B", "FP32", (1,), struct.pack("<f", -0.0))]),
    "NaN": a_request(inputs=[a_request().inputs[0], Tensor("B", "FP32", (1,), NAN)]),
    "another NaN": a_request(inputs=[a_request().inputs[0], Tensor("B", "FP32", (1,), struct.pack("<I", 0x7FC00001))]),
    "swapped values": a_request(
        inputs=[
            Tensor("A", "FP32", (1,), struct.pack("<f", 0.0)),
            Tensor("B", "INT32", (1, 2), struct.pack("<2i", 1, 2)),
        ]
    ),
    "fewer inputs": a_request(inputs=a_request().inputs[:1]),
    "an input's parameter": _with_input(parameters={"scale": 2}),
    "no outputs": a_request(outputs=[]),
    "another output": a_request(outputs=[RequestedOutput("OTHER", {"classification": 2})]),
    "no classification": a_request(outputs=[RequestedOutput("OUT")]),
    "another classification": a_request(outputs=[RequestedOutput("OUT", {"classification": 3})]),
    "a parameter": a_request(parameters={"temperature": 1.25}),
    "a parameter as text": a_request(parameters={"temperature": "1.5"}),
    "no parameters": a_request(parameters=None),
    "strings": a_request(inputs=[Tensor("A", "BYTES", (2,), join_elements([b"a\0", b"b"]))]),
    "other strings": a_request(inputs=[Tensor("A", "BYTES", (2,), join_elements([b"a", b"\0b"]))]),
    "one string": a_request(inputs=[Tensor("A", "BYTES", (1,), join_elements([b"a\0b"]))]),
}


def test_any_difference_makes_another_key() -> None:
    keys = [key(a_request()), *map(key, DIFFERENT.values())]
    assert len(set(keys)) == len(keys)
    assert {len(each) for each in keys} == {DIGEST_BYTES}


@pytest.mark.parametrize("at", range(5))
def test_whom_it_is_for_and_of_what_model(at: int) -> None:
    texts = ["tenant", "acme", "p", "m", "1"]
    texts[at] += "x"
    assert key(a_request(), join_texts(texts)) != key(a_request())


def test_texts_do_not_run_into_each_other() -> None:
    assert join_texts(("ab", "c")) != join_texts(("a", "bc"))
    assert join_texts(("a", "")) != join_texts(("a",))


def test_a_large_request_has_the_key_of_its_small_pieces() -> None:
    data = bytes(range(256)) * 1024
    large = a_request(inputs=[Tensor("A", "UINT8", (len(data),), memoryview(data))])
    assert key(large) == key(a_request(inputs=[Tensor("A", "UINT8", (len(data),), data)]))
    other = a_request(inputs=[Tensor("A", "UINT8", (len(data),), data[:-1] + b"\0")])
    assert key(large) != key(other)


def test_bytes_of_inputs_and_shared_memory() -> None:
    assert input_bytes(a_request()) == 12
    assert input_bytes(_with_input(data=None, parameters={"shared_memory_region": "r"})) == -1
    assert input_bytes(_with_input(parameters={"shared_memory_region": "r"})) == -1
    assert input_bytes(a_request(outputs=[RequestedOutput("OUT", {"shared_memory_region": "r"})])) == -1


@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=9), st.binary(max_size=9))
def test_a_spelling_is_of_all_bytes_and_its_context(one: bytes, other: bytes, here: bytes, there: bytes) -> None:
    same = (one, here) == (other, there)
    assert (digest_message((one,), here) == digest_message((other,), there)) is same
    assert digest_message((one[:5], memoryview(one)[5:]), here) == digest_message((one,), here)
