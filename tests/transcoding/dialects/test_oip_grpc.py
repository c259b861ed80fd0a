"""Our protobuf against the generated one, both ways."""

from __future__ import annotations

from functools import partial

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.support.errors import error_from
from tests.support.hub import replies, requests
from transcoding.dialects import oip_grpc
from transcoding.message import InferReply, InferRequest, RequestedOutput, Tensor
from transcoding.oip_messages import LARGE
from transcoding.status import Fault, GatewayError


def fill_parameters(target: object, values: dict[str, bool | int | float | str] | None) -> None:
    for name, value in (values or {}).items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, str):
            target[name].string_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        elif name == "sequence_id" and value >= 2**63:
            target[name].int64_param = value - 2**64
        elif value >= 2**63:
            target[name].uint64_param = value
        else:
            target[name].int64_param = value


def reference_request(request: InferRequest) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=request.model, model_version=request.version, id=request.id)
    fill_parameters(message.parameters, request.parameters)
    for tensor in request.inputs:
        added = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        fill_parameters(added.parameters, tensor.parameters)
        if tensor.data is not None:
            message.raw_input_contents.append(bytes(tensor.data))
    for output in request.outputs:
        fill_parameters(message.outputs.add(name=output.name).parameters, output.parameters)
    return message


def reference_reply(reply: InferReply) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(model_name=reply.model, model_version=reply.version, id=reply.id)
    fill_parameters(message.parameters, reply.parameters)
    for tensor in reply.outputs:
        added = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        fill_parameters(added.parameters, tensor.parameters)
        message.raw_output_contents.append(bytes(tensor.data or b""))
    return message


@given(requests())
def test_an_encoded_request_is_what_the_generated_code_reads(request: InferRequest) -> None:
    wire = b"".join(oip_grpc.encode_request(request))
    assert pb.ModelInferRequest.FromString(wire) == reference_request(request)


@given(requests())
def test_a_generated_request_is_read_as_it_was_meant(request: InferRequest) -> None:
    wire = reference_request(request).SerializeToString()
    assert oip_grpc.decode_request(wire) == request
    assert oip_grpc.decode_request(memoryview(wire)) == request


@given(replies())
def test_an_encoded_reply_is_what_the_generated_code_reads(reply: InferReply) -> None:
    wire = b"".join(oip_grpc.encode_reply(reply))
    assert pb.ModelInferResponse.FromString(wire) == reference_reply(reply)


@given(replies())
def test_a_generated_reply_is_read_as_it_was_meant(reply: InferReply) -> None:
    wire = reference_reply(reply).SerializeToString()
    assert oip_grpc.decode_reply(wire) == reply
    assert oip_grpc.decode_reply(memoryview(wire)) == reply


@given(requests(), st.randoms(use_true_random=False))
def test_the_order_of_fields_does_not_matter(request: InferRequest, random: object) -> None:
    parts = [bytes(oip_grpc._encode_head(request.model, request.version))]
    parts += [b"".join(oip_grpc.encode_request(InferRequest("", inputs=[tensor]))) for tensor in request.inputs[:1]]
    parts.append(b"\x1a\x01x")
    random.shuffle(parts)
    decoded = oip_grpc.decode_request(b"".join(parts))
    assert (decoded.model, decoded.version, decoded.id) == (request.model, request.version, "x")
    assert decoded.inputs == request.inputs[:1]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_an_error(wire: bytes) -> None:
    for decode in (oip_grpc.decode_request, oip_grpc.decode_reply, oip_grpc.decode_stream_reply, oip_grpc.scan_request):
        error = error_from(partial(decode, wire))
        assert error is None or error.http_status in (400, 502)


@given(st.binary(max_size=60))
def test_what_the_generated_code_refuses_a_full_parse_refuses(wire: bytes) -> None:
    try:
        pb.ModelInferRequest.FromString(wire)
    except DecodeError:
        with pytest.raises(GatewayError):
            oip_grpc.decode_request(wire)


def test_large_tensors_are_not_copied() -> None:
    data = memoryview(bytes(LARGE))
    request = InferRequest("m", inputs=[Tensor("a", "INT8", (LARGE,), data), Tensor("b", "INT8", (1,), b"1")])
    buffers = oip_grpc.encode_request(request)
    assert any(buffer is data for buffer in buffers)
    assert len(buffers) == 3
    wire = b"".join(buffers)
    reply = b"".join(oip_grpc.encode_reply(InferReply("m", "1", outputs=request.inputs)))
    assert oip_grpc.decode_request(wire).inputs[0].data.obj is wire
    assert oip_grpc.decode_reply(reply).outputs[0].data.obj is reply
    assert type(oip_grpc.decode_reply(reply).outputs[1].data) is bytes


def test_a_small_request_is_one_buffer() -> None:
    request = InferRequest("m", inputs=[Tensor("a", "INT8", (2,), b"12"), Tensor("b", "INT8", (1,), b"1")])
    assert len(oip_grpc.encode_request(request)) == 1


@pytest.mark.parametrize(
    ("datatype", "contents", "raw"),
    [
        ("BOOL", {"bool_contents": [True, False]}, b"\x01\x00"),
        ("INT8", {"int_contents": [-1, 5]}, b"\xff\x05"),
        ("INT32", {"int_contents": [-(2**31), 2**31 - 1]}, b"\x00\x00\x00\x80\xff\xff\xff\x7f"),
        ("INT64", {"int64_contents": [-(2**63), 2**63 - 1]}, bytes(7) + b"\x80" + b"\xff" * 7 + b"\x7f"),
        ("UINT16", {"uint_contents": [65535, 0]}, b"\xff\xff\x00\x00"),
        ("UINT64", {"uint64_contents": [2**64 - 1, 0]}, b"\xff" * 8 + bytes(8)),
        ("FP32", {"fp32_contents": [1.5, -0.0]}, b"\x00\x00\xc0\x3f\x00\x00\x00\x80"),
        ("FP64", {"fp64_contents": [1.5, 0]}, b"\x00\x00\x00\x00\x00\x00\xf8\x3f" + bytes(8)),
        ("BYTES", {"bytes_contents": [b"ab", b""]}, b"\x02\x00\x00\x00ab\x00\x00\x00\x00"),
    ],
)
def test_typed_contents_become_raw_bytes(datatype: str, contents: dict[str, list[object]], raw: bytes) -> None:
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype=datatype, shape=[2], contents=pb.InferTensorContents(**contents))
    assert oip_grpc.decode_request(message.SerializeToString()).inputs[0].data == raw
    reply = pb.ModelInferResponse(model_name="m")
    reply.outputs.add(name="x", datatype=datatype, shape=[2], contents=pb.InferTensorContents(**contents))
    assert oip_grpc.decode_reply(reply.SerializeToString()).outputs[0].data == raw


def test_contents_beside_raw_bytes_are_refused_with_tritons_words() -> None:
    message = pb.ModelInferRequest(model_name="id_fp32", raw_input_contents=[b"1234"])
    message.inputs.add(name="INPUT0", datatype="FP32", shape=[1], contents=pb.InferTensorContents(fp32_contents=[1.0]))
    with pytest.raises(GatewayError) as error:
        oip_grpc.decode_request(message.SerializeToString())
    assert error.value.message == (
        "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'id_fp32'"
    )


def test_an_input_without_data_is_refused_unless_it_is_in_shared_memory() -> None:
    message = pb.ModelInferRequest(model_name="id_fp32")
    added = message.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
    with pytest.raises(GatewayError, match="unable to find data for input tensor 'INPUT0' for model 'id_fp32'"):
        oip_grpc.decode_request(message.SerializeToString())
    added.parameters["shared_memory_region"].string_param = "r"
    second = message.inputs.add(name="INPUT1", datatype="INT8", shape=[1])
    message.raw_input_contents.append(b"7")
    request = oip_grpc.decode_request(message.SerializeToString())
    assert [tensor.data for tensor in request.inputs] == [None, b"7"]
    assert pb.ModelInferRequest.FromString(b"".join(oip_grpc.encode_request(request))) == message
    assert second.name == "INPUT1"


def test_extra_raw_contents_are_ignored_as_in_triton() -> None:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"1", b"2"])
    message.inputs.add(name="a", datatype="INT8", shape=[1])
    assert [tensor.data for tensor in oip_grpc.decode_request(message.SerializeToString()).inputs] == [b"1"]


def test_a_reply_whose_contents_do_not_match_is_the_workers_fault() -> None:
    message = pb.ModelInferResponse(model_name="m", raw_output_contents=[b"1", b"2"])
    message.outputs.add(name="a", datatype="INT8", shape=[1])
    with pytest.raises(GatewayError) as error:
        oip_grpc.decode_reply(message.SerializeToString())
    assert (error.value.http_status, error.value.fault) == (502, Fault.WORKER)


def test_remembered_descriptions_are_not_shared() -> None:
    tensor = Tensor("x", "INT8", (1,), b"1", {"a": 1})
    wire = b"".join(oip_grpc.encode_reply(InferReply("m", "1", outputs=[tensor])))
    oip_grpc.decode_reply(wire).outputs[0].parameters["a"] = 2
    assert oip_grpc.decode_reply(wire).outputs[0].parameters == {"a": 1}


def test_a_stream_reply_is_an_error_or_a_reply() -> None:
    reply = InferReply("m", "1", "7", {"triton_final_response": True}, [Tensor("x", "INT8", (1,), b"1")])
    inner = pb.ModelInferResponse.FromString(b"".join(oip_grpc.encode_reply(reply)))
    wire = pb.ModelStreamInferResponse(infer_response=inner).SerializeToString()
    assert oip_grpc.decode_stream_reply(wire) == ("", reply)
    wire = pb.ModelStreamInferResponse(error_message="no", infer_response=inner).SerializeToString()
    assert oip_grpc.decode_stream_reply(wire) == ("no", None)
    with pytest.raises(GatewayError):
        oip_grpc.decode_stream_reply(b"\x12\x05")


def test_parameters_that_have_no_protobuf_form_are_refused() -> None:
    with pytest.raises(GatewayError, match=r"parameters.big: expected an integer of at most 64 bits"):
        oip_grpc.encode_request(InferRequest("m", parameters={"big": 2**64}))


def test_outputs_keep_their_parameters() -> None:
    request = InferRequest("m", outputs=[RequestedOutput("a", {"classification": 3}), RequestedOutput("b")])
    message = pb.ModelInferRequest.FromString(b"".join(oip_grpc.encode_request(request)))
    assert message.outputs[0].parameters["classification"].int64_param == 3
    assert oip_grpc.scan_request(message.SerializeToString()).classified == ("a",)
