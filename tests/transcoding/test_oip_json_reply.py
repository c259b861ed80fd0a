"""Parts of a JSON reply that repeat are looked up, and only those."""

from __future__ import annotations

import orjson
import pytest

from transcoding.message import InferReply, InferRequest, Tensor
from transcoding.oip_json_reply import encode_error, encode_reply, layout_of, visible_parameters
from transcoding.status import Fault, GatewayError


def test_a_head_that_repeats_never_carries_another_replys_id() -> None:
    plain = InferReply("m", "1", outputs=[Tensor("x", "INT8", (1,), b"\x05")])
    named = InferReply("m", "1", "id", None, plain.outputs)
    request = InferRequest("m")
    assert "id" not in orjson.loads(encode_reply(plain, request)[0])
    assert orjson.loads(encode_reply(named, request)[0])["id"] == "id"
    assert "id" not in orjson.loads(encode_reply(plain, request)[0])


def test_names_are_escaped() -> None:
    reply = InferReply('m"', "1", outputs=[Tensor('x\\"', "INT8", (1,), b"\x05")])
    read = orjson.loads(encode_reply(reply, InferRequest("m"))[0])
    assert (read["model_name"], read["outputs"][0]["name"]) == ('m"', 'x\\"')


def test_an_outputs_own_parameters_are_shown() -> None:
    reply = InferReply("m", "1", outputs=[Tensor("x", "INT8", (1,), b"\x05", {"k": 1})])
    assert orjson.loads(encode_reply(reply, InferRequest("m"))[0])["outputs"][0] == {
        "name": "x",
        "datatype": "INT8",
        "shape": [1],
        "parameters": {"k": 1},
        "data": [5],
    }


def test_the_mark_of_a_streams_end_is_not_shown() -> None:
    assert visible_parameters(InferReply("m", "1", "", {"triton_final_response": True, "a": 1})) == {"a": 1}


def test_an_output_without_a_layout_is_the_workers_fault() -> None:
    with pytest.raises(GatewayError, match="the worker's output 'x' is malformed: datatype: ") as error:
        layout_of("x", "", (1,))
    assert (error.value.http_status, error.value.fault) == (502, Fault.WORKER)


def test_an_error_is_text() -> None:
    assert encode_error("é") == '{"error":"é"}'.encode()
