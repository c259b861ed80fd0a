"""Messages taken apart."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from transcoding.oip_messages import CACHED, LARGE, RAW_INPUT, RAW_OUTPUT, parse, parse_repeated
from transcoding.protobuf_wire import MALFORMED, MAX_FIELDS, delimited


def request(name: str, shape: list[int]) -> bytes:
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name=name, datatype="INT8", shape=shape)
    return message.SerializeToString()


def test_descriptions_are_looked_up_by_their_bytes() -> None:
    wire = request("looked up", [1, 2])
    first = parse(wire, RAW_INPUT).tensors[0]
    hits = parse_repeated.cache_info().hits
    assert parse(memoryview(wire), RAW_INPUT).tensors[0] is first
    assert parse_repeated.cache_info().hits == hits + 1


def test_long_descriptions_are_not_kept() -> None:
    size = parse_repeated.cache_info().currsize
    assert parse(request("x" * CACHED, [1]), RAW_INPUT).tensors[0].name == "x" * CACHED
    assert parse_repeated.cache_info().currsize == size


def test_shapes_are_signed_packed_or_not() -> None:
    assert parse(request("a", [-1, 3]), RAW_INPUT).tensors[0].shape == (-1, 3)
    assert parse(delimited(0x2A, b"\x18\x05\x1a\x01\x06\x18\x07"), RAW_INPUT).tensors[0].shape == (5, 6, 7)


def test_only_large_contents_are_views() -> None:
    message = pb.ModelInferResponse(raw_output_contents=[b"1", bytes(LARGE)])
    small, large = parse(message.SerializeToString(), RAW_OUTPUT).raw
    assert type(small) is bytes
    assert type(large) is memoryview


def test_a_message_has_so_many_fields_at_most() -> None:
    assert len(parse(b"\x32\x00" * MAX_FIELDS, RAW_OUTPUT).raw) == MAX_FIELDS
    with pytest.raises(MALFORMED):
        parse(b"\x32\x00" * (MAX_FIELDS + 2), RAW_OUTPUT)
    with pytest.raises(MALFORMED):
        parse(delimited(0x2A, b"\x2a\x00" * (MAX_FIELDS + 2)), RAW_INPUT)


@pytest.mark.parametrize(
    "wire",
    [b"\x0a", b"\x0a\x05m", b"\x2a\x02\x0a\x05", b"\x22\x00\x22\x05\x0a\x01a\x12\x00", b"\x02\x00", b"\x0a\x01\xff"],
)
def test_malformed_messages(wire: bytes) -> None:
    with pytest.raises(MALFORMED):
        parse(wire, RAW_INPUT)
