"""Parameters on the protobuf wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.support.hub import names, parameter_values
from transcoding.message import Parameter
from transcoding.oip_parameters import decode_entry, encode_entry, require_value
from transcoding.protobuf_wire import MALFORMED, WireError, delimited, fields
from transcoding.status import GatewayError


def entry(wire: bytes) -> bytes:
    ((_, value),) = fields(wire)
    return value


@given(names, parameter_values)
def test_a_parameter_survives(name: str, value: Parameter) -> None:
    back = decode_entry(entry(encode_entry(0x22, name, value)))
    assert back == (name, value)
    assert type(back[1]) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("a", True, "bool_param"),
        ("a", 1, "int64_param"),
        ("a", "s", "string_param"),
        ("a", 1.5, "double_param"),
        ("priority", 2**64 - 1, "uint64_param"),
        ("sequence_id", 7, "int64_param"),
    ],
)
def test_each_type_has_its_field(name: str, value: Parameter, field: str) -> None:
    message = pb.ModelInferRequest.FromString(encode_entry(0x22, name, value))
    assert message.parameters[name].WhichOneof("parameter_choice") == field
    assert getattr(message.parameters[name], field) == value


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_a_large_sequence_id_is_a_negative_int64(number: int) -> None:
    wire = encode_entry(0x22, "sequence_id", number)
    assert pb.ModelInferRequest.FromString(wire).parameters["sequence_id"].int64_param == number - 2**64
    assert decode_entry(entry(wire)) == ("sequence_id", number)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_more_than_64_bits_are_refused(value: int) -> None:
    with pytest.raises(GatewayError, match=r"^parameters.x: expected an integer of at most 64 bits, got "):
        encode_entry(0x22, "x", value)


def test_flags_that_compare_equal_stay_apart() -> None:
    """1, 1.0 and True are one key to a cache that does not look at types."""
    values = [decode_entry(entry(encode_entry(0x22, "x", value)))[1] for value in (True, 1, 1.0, False, 0, 0.0)]
    assert list(map(repr, values)) == ["True", "1", "1.0", "False", "0", "0.0"]


def test_an_empty_oneof_is_no_value() -> None:
    assert decode_entry(b"\x0a\x01a") == ("a", None)
    with pytest.raises(WireError, match="parameter 'a' has no value"):
        require_value("a", None)


def test_parts_of_a_value_merge_and_the_last_choice_wins() -> None:
    wire = b"\x0a\x01a\x12\x02\x08\x01\x12\x02\x10\x05\x0a\x01b"
    message = pb.ModelInferRequest.FromString(delimited(0x22, wire))
    assert message.parameters["b"].int64_param == 5
    assert decode_entry(wire) == ("b", 5)


def test_long_entries_are_read_too() -> None:
    assert decode_entry(entry(encode_entry(0x22, "a" * 200, "b" * 200))) == ("a" * 200, "b" * 200)


@pytest.mark.parametrize("wire", [b"\x0a\x05a", b"\x12\x02\x1a\x05", b"\x0a\x01\xff", b"\x12\x02\x21\x00"])
def test_malformed_entries(wire: bytes) -> None:
    with pytest.raises(MALFORMED):
        decode_entry(wire)


@given(st.binary(max_size=30))
def test_any_bytes_are_an_entry_or_malformed(wire: bytes) -> None:
    try:
        decode_entry(wire)
    except MALFORMED:
        return
