"""The client's half of the JSON dialect."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.message import InferReply, InferRequest, RequestedOutput, Tensor
from transcoding.oip_json_client import decode_reply, encode_request
from transcoding.status import Fault, GatewayError


def test_a_request_is_written_with_its_options() -> None:
    request = InferRequest(
        "m",
        id="7",
        parameters={"a": 1},
        inputs=[Tensor("x", "INT8", (2,), b"12", {"p": "q"})],
        outputs=[RequestedOutput("y", {"classification": 1}, True), RequestedOutput("z")],
        binary_output=True,
    )
    head, tail = encode_request(request)
    assert tail == [b"12"]
    assert json.loads(head) == {
        "id": "7",
        "parameters": {"a": 1, "binary_data_output": True},
        "inputs": [{"name": "x", "datatype": "INT8", "shape": [2], "parameters": {"p": "q", "binary_data_size": 2}}],
        "outputs": [{"name": "y", "parameters": {"classification": 1, "binary_data": True}}, {"name": "z"}],
    }
    head, tail = encode_request(request, binary=False)
    assert tail == []
    assert json.loads(head)["inputs"][0]["data"] == [49, 50]


def test_half_floats_need_binary_data() -> None:
    request = InferRequest("m", inputs=[Tensor("x", "FP16", (1,), b"12")])
    assert encode_request(request)[1] == [b"12"]
    with pytest.raises(GatewayError, match="FP16"):
        encode_request(request, binary=False)


def test_shared_memory_has_no_data() -> None:
    shared = {"shared_memory_region": "r"}
    head, tail = encode_request(InferRequest("m", inputs=[Tensor("x", "INT8", (1,), None, shared)]))
    assert json.loads(head)["inputs"] == [{"name": "x", "datatype": "INT8", "shape": [1], "parameters": shared}]
    assert tail == []


def test_a_reply_is_read() -> None:
    head = (
        b'{"id":"i","model_name":"m","model_version":"1","parameters":{"a":1},"outputs":['
        b'{"name":"x","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2,"k":"v"}},'
        b'{"name":"y","datatype":"FP32","shape":[1],"data":[NaN]},{"name":"z","datatype":"INT8","shape":[1]}]}'
    )
    reply = decode_reply(head + b"ab", len(head))
    assert reply == InferReply(
        "m",
        "1",
        "i",
        {"a": 1},
        [
            Tensor("x", "INT8", (2,), b"ab", {"k": "v"}),
            Tensor("y", "FP32", (1,), b"\0\0\xc0\x7f"),
            Tensor("z", "INT8", (1,)),
        ],
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model_name":"m"}',
        b'{"model_name":"m","outputs":[1]}',
        b'{"model_name":"m","outputs":[{"name":"x","datatype":"INT8","shape":[1],"data":["a"]}]}',
        b'{"model_name":"m","outputs":[{"name":"x","datatype":"I","shape":[1],"data":[1]}]}',
        b'{"model_name":"m","outputs":[{"name":"x","datatype":"INT8","shape":[1],"parameters":{"binary_data_size":9}}]}',
        b'{"model_name":"m","outputs":[{"name":"x","datatype":"INT8","shape":[1],"parameters":{"binary_data_size":-1}}]}',
        b'{"model_name":"m","outputs":[{"name":"x","datatype":"INT8","shape":1}]}',
        b'{"model_name":"m","outputs":[{"name":"x","datatype":"INT32","shape":[2.2],"data":[1,2]}]}',
        b'{"model_name":1,"outputs":[]}',
    ],
)
def test_a_backends_nonsense_is_its_fault(body: bytes) -> None:
    with pytest.raises(GatewayError, match=r"^the worker's answer is not an inference response") as error:
        decode_reply(body, None)
    assert (error.value.http_status, error.value.fault) == (502, Fault.WORKER)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_reply_or_an_error(body: bytes) -> None:
    with pytest.raises(GatewayError):
        decode_reply(body, None)
