"""Digests tell tensors apart and nothing else, over both forms of a request and on any bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.model_server import request_of
from transcoding.dialects import oip_grpc, oip_json
from transcoding.protobuf_wire import delimited
from transcoding.tensor_digest import digest_message, digest_request


def of(request: Any) -> bytes:
    return digest_message(request.SerializeToString())


def test_who_asks_and_with_what_parameters_makes_no_difference() -> None:
    plain = request_of("m")
    other = request_of("other", id="7", version="3")
    other.parameters["priority"].int64_param = 1
    other.outputs.add(name="OUT")
    assert len(of(plain)) == 8
    assert of(other) == of(plain)


def test_names_shapes_types_and_data_make_a_difference() -> None:
    digests = {of(request_of())}
    for name, value in (("name", "INPUT1"), ("datatype", "UINT32"), ("shape", [1, 3])):
        request = request_of()
        if name == "shape":
            request.inputs[0].shape[:] = value  # type: ignore[index]
        else:
            setattr(request.inputs[0], name, value)
        digests.add(of(request))
    digests.add(of(request_of(numbers=[1, 2, 4])))
    assert len(digests) == 5


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40))
def test_rest_and_grpc_agree(numbers: list[int]) -> None:
    body = b'{"id": "x", "inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [%d], "data": %b}]}'
    request = oip_json.decode_request(body % (len(numbers), str(numbers).encode()), None, "m", "")
    assert digest_request(request) == of(request_of(numbers=numbers))


def test_large_tensors_and_views() -> None:
    message = request_of(numbers=range(50_000)).SerializeToString()
    assert digest_message(memoryview(message)) == digest_message(message)
    assert digest_request(oip_grpc.decode_request(memoryview(message))) == digest_message(message)


def test_unknown_fields_are_passed_over() -> None:
    message = request_of().SerializeToString()
    assert digest_message(b"\x98\x06\x01" + delimited(0x7A, b"later") + message) == digest_message(message)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_digest(data: bytes) -> None:
    assert len(digest_message(data)) == 8
