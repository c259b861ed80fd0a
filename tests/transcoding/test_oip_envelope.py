"""The scanner against the generated code: one answer on every message that is valid."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.support.errors import error_from
from tests.support.hub import replies, requests
from tests.support.wire import has_strange_map_entry
from transcoding.dialects.oip_grpc import encode_reply, encode_request
from transcoding.message import InferReply, InferRequest, RequestedOutput, Tensor
from transcoding.oip_envelope import (
    append_bool_parameter,
    append_parameter,
    encode_stream_error,
    scan_request,
    scan_stream_reply,
    set_target,
    set_version,
)
from transcoding.protobuf_wire import MAX_FIELDS, varint
from transcoding.status import Code, Fault, GatewayError


def reference(wire: bytes) -> tuple[object, ...]:
    message = pb.ModelInferRequest.FromString(wire)
    parameters = {}
    for name, value in message.parameters.items():
        which = value.WhichOneof("parameter_choice")
        if which is not None:
            parameters[name] = getattr(value, which)
            if name == "sequence_id" and which == "int64_param" and parameters[name] < 0:
                parameters[name] += 2**64
    classified = tuple(output.name for output in message.outputs if "classification" in output.parameters)
    return message.model_name, message.model_version, message.id, repr(sorted(parameters.items())), classified


def scanned(wire: bytes) -> tuple[object, ...]:
    envelope = scan_request(wire)
    parameters = repr(sorted(envelope.parameters.items()))
    return envelope.model, envelope.version, envelope.id, parameters, envelope.classified


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


numbers = st.integers(1, 9) | st.integers(10, 2**29 - 1)
strange_fields = st.one_of(
    st.builds(lambda n, v: varint(n << 3) + varint(v), numbers, st.integers(0, 2**64 - 1)),
    st.builds(lambda n, v: varint(n << 3 | 1) + v, numbers, st.binary(min_size=8, max_size=8)),
    st.builds(lambda n, v: varint(n << 3 | 5) + v, numbers, st.binary(min_size=4, max_size=4)),
    st.builds(lambda n, v: field(n, v.encode()), st.sampled_from((1, 2, 3, 9, 1000)), st.text(max_size=5)),
    st.builds(lambda n, v: varint(n << 3 | 3) + v + varint(n << 3 | 4), numbers, st.sampled_from((b"", b"\x08\x01"))),
    st.builds(lambda v: field(4, v), st.binary(max_size=12)),
    st.just(b"\x8a\x00\x01z"),  # field 1 with a tag of two bytes where one would do
)


@given(requests(), st.lists(strange_fields, max_size=5), st.booleans())
def test_the_scan_agrees_with_the_generated_code(request: InferRequest, strange: list[bytes], first: bool) -> None:
    wire = b"".join(encode_request(request))
    wire = b"".join((*strange, wire) if first else (wire, *strange))
    try:
        expected = reference(wire)
    except DecodeError:
        with pytest.raises(GatewayError):
            scan_request(wire)
    else:
        assert has_strange_map_entry(wire) or scanned(wire) == expected
        assert scan_request(memoryview(wire)).model == expected[0]


@given(st.binary(max_size=40))
@example(b"\x0a")
@example(b"\x0a\x80")
@example(b"\x02\x00")
@example(b"\x0b" * 200)
@example(b"\x0c")
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")
@example(b"\x0a\x02\xff\xfe")
@example(b"\x7a\x05")
@example(b"\x29\x00")
def test_what_the_scan_refuses_is_no_message(wire: bytes) -> None:
    error = error_from(lambda: scanned(wire))
    try:
        expected = reference(wire)
    except DecodeError:  # inside of a tensor perhaps, which the scan skips
        assert error is None or (error.code, error.http_status) == (Code.INVALID_ARGUMENT, 400)
    else:
        assert error is None
        assert has_strange_map_entry(wire) or scanned(wire) == expected


def test_the_envelope_tells_what_routing_asks() -> None:
    parameters = {
        "sequence_id": 2**64 - 1,
        "sequence_start": True,
        "sequence_end": False,
        "triton_enable_empty_final_response": True,
    }
    envelope = scan_request(b"".join(encode_request(InferRequest("m", "3", "r7", parameters))))
    assert (envelope.model, envelope.version, envelope.id) == ("m", "3", "r7")
    assert envelope.sequence_id == 2**64 - 1
    assert (envelope.sequence_start, envelope.sequence_end, envelope.wants_empty_final) == (True, False, True)
    assert envelope.has_parameters
    assert "sequence_id" in repr(envelope)


@pytest.mark.parametrize(("value", "expected"), [(0, None), ("", None), (5, 5), ("a", "a"), (1.5, None)])
def test_a_sequence_id_is_a_number_or_a_text(value: object, expected: object) -> None:
    assert scan_request(b"".join(encode_request(InferRequest("m", parameters={"sequence_id": value})))).sequence_id == (
        expected
    )


def test_a_plain_message_has_no_parameters() -> None:
    envelope = scan_request(b"\x0a\x01m")
    assert not envelope.has_parameters
    assert (envelope.sequence_id, envelope.sequence_start, envelope.wants_empty_final) == (None, False, False)
    assert scan_request(b"").parameters == {}


def test_a_later_parameter_replaces_an_earlier_one_be_it_empty() -> None:
    wire = append_bool_parameter("sequence_start", True) + field(4, field(1, b"sequence_start"))
    assert not scan_request(wire).sequence_start
    assert pb.ModelInferRequest.FromString(wire).parameters["sequence_start"].WhichOneof("parameter_choice") is None


@given(requests(), st.sampled_from(("", "1", "77")), st.booleans())
def test_appended_fields_win(request: InferRequest, version: str, flag: bool) -> None:
    wire = b"".join(encode_request(request))
    buffers = set_version(wire, version)
    assert buffers[0] is wire
    changed = b"".join(buffers) + append_bool_parameter("flag", flag) + append_parameter("timeout", 7)
    expected = pb.ModelInferRequest.FromString(wire)
    expected.model_version = version
    expected.parameters["flag"].bool_param = flag
    expected.parameters["timeout"].int64_param = 7
    assert pb.ModelInferRequest.FromString(changed) == expected


@given(requests(), st.sampled_from(("", "other", "naïve")), st.sampled_from(("", "1", "77")))
def test_another_target(request: InferRequest, model: str, version: str) -> None:
    wire = b"".join(encode_request(request))
    buffers = set_target(wire, model, version)
    assert buffers[0] is wire
    expected = pb.ModelInferRequest.FromString(wire)
    expected.model_version = version
    if model:
        expected.model_name = model
    assert pb.ModelInferRequest.FromString(b"".join(buffers)) == expected
    envelope = scan_request(b"".join(buffers))
    assert (envelope.model, envelope.version) == (expected.model_name, version)


@given(replies(), st.sampled_from(("", "boom")), st.booleans())
def test_a_stream_reply_is_scanned(reply: InferReply, error: str, final: bool) -> None:
    reply.parameters = {**(reply.parameters or {}), "triton_final_response": final}
    inner = pb.ModelInferResponse.FromString(b"".join(encode_reply(reply)))
    envelope = scan_stream_reply(
        pb.ModelStreamInferResponse(error_message=error, infer_response=inner).SerializeToString()
    )
    assert (envelope.error_message, envelope.id, envelope.model, envelope.version) == (
        error,
        reply.id,
        reply.model,
        reply.version,
    )
    assert (envelope.final, envelope.empty) == (final, not reply.outputs)


def test_a_malformed_stream_reply_is_the_workers_fault() -> None:
    with pytest.raises(GatewayError) as error:
        scan_stream_reply(b"\x12\x05ab")
    assert (error.value.http_status, error.value.fault) == (502, Fault.WORKER)


def test_a_stream_error_is_tritons_form() -> None:
    message = pb.ModelStreamInferResponse.FromString(encode_stream_error("not found", "x"))
    assert message == pb.ModelStreamInferResponse(
        error_message="not found", infer_response=pb.ModelInferResponse(id="x")
    )
    assert message.HasField("infer_response")
    assert scan_stream_reply(encode_stream_error("no")).empty


def test_the_scan_does_not_grow_with_the_tensors() -> None:
    """Every index into the message is counted: a tensor a thousand times larger costs none more."""

    class Counted(bytes):
        reads = 0

        def __getitem__(self, index: object) -> object:
            Counted.reads += 1
            return super().__getitem__(index)

    reads = []
    for size in (10_000, 10_000_000):
        tensor = Tensor("x", "INT8", (size,), bytes(size))
        Counted.reads = 0
        scan_request(Counted(b"".join(encode_request(InferRequest("m", inputs=[tensor])))))
        reads.append(Counted.reads)
    assert reads[1] <= reads[0] + 2  # a longer varint


@pytest.mark.parametrize("field", [b"\x22\x00", b"\x32\x00", b"\x1a\x00", b"\x78\x01", b"\x2a\x00"])
def test_a_message_has_so_many_fields_at_most(field: bytes) -> None:
    """Two bytes can be a field: a megabyte of them must not hold up everyone else."""
    scan_request(field * MAX_FIELDS)
    for wire in (field * (MAX_FIELDS + 2), append_bool_parameter("x", True).replace(b"x", b"y") + field * 500_000):
        with pytest.raises(GatewayError):
            scan_request(wire)


def test_classified_outputs_are_named() -> None:
    outputs = [RequestedOutput("a", {"classification": 2}), RequestedOutput("classification"), RequestedOutput("b")]
    assert scan_request(b"".join(encode_request(InferRequest("m", outputs=outputs)))).classified == ("a",)
