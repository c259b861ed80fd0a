"""generate: the mapping rules as a real Triton 2.51 shows them."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.errors import error_from
from tests.support.json_requests import arrays, numbers, others, strings
from transcoding.dialects import generate
from transcoding.message import InferReply, InferRequest, ModelSignature, Tensor
from transcoding.status import GatewayError
from transcoding.tensor import join_elements

LLM = ModelSignature(
    "mock_llm",
    "1",
    0,
    True,
    {"PROMPT": ("BYTES", (1, 1)), "STREAM": ("BOOL", (1, 1)), "input_ids": ("INT32", (-1, -1))},
    {"TEXT": ("BYTES", (1, -1))},
)


def model(datatype: str, *shape: int) -> ModelSignature:
    return ModelSignature("m", "1", 0, False, {"INPUT0": (datatype, shape)}, {})


def decode(body: Any, signature: ModelSignature = LLM) -> InferRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return generate.decode_request(raw, signature.name, "", signature)


def test_keys_are_inputs_or_parameters() -> None:
    request = decode({"PROMPT": "hi", "STREAM": False, "temperature": 0.5, "id": "42", "n": 3})
    assert request == InferRequest(
        "mock_llm",
        "",
        "42",
        {"temperature": 0.5, "n": 3},
        [Tensor("PROMPT", "BYTES", (1, 1), b"\x02\0\0\0hi"), Tensor("STREAM", "BOOL", (1, 1), b"\0")],
    )


def test_the_object_under_parameters_is_read_by_the_same_rules() -> None:
    request = decode({"PROMPT": ["hi"], "parameters": {"STREAM": True, "REPETITION": 2, "id": "x"}})
    assert [tensor.name for tensor in request.inputs] == ["PROMPT", "STREAM"]
    assert (request.parameters, request.id) == ({"REPETITION": 2, "id": "x"}, "")


@pytest.mark.parametrize(
    ("dimensions", "count", "shape"),
    [
        ((-1,), 3, (3,)),
        ((-1, 16), 32, (2, 16)),
        ((-1, -1), 3, (1, 3)),
        ((4, -1), 8, (4, 2)),
        ((-1, 4, -1), 8, (1, 4, 2)),
        ((1, 1), 1, (1, 1)),
        ((), 1, ()),
        ((-1,), 0, (0,)),
        ((-1, -1), 0, (1, 0)),
    ],
)
def test_the_shape_is_found_from_the_models_own(
    dimensions: tuple[int, ...], count: int, shape: tuple[int, ...]
) -> None:
    request = decode({"INPUT0": list(range(count))}, model("INT32", *dimensions))
    assert request.inputs == [Tensor("INPUT0", "INT32", shape, np.arange(count, dtype=np.int32).tobytes())]


@pytest.mark.parametrize(("dimensions", "count"), [((1, 1), 2), ((-1, 16), 17), ((2,), 1), ((3,), 0)])
def test_data_that_do_not_fit_have_tritons_words(dimensions: tuple[int, ...], count: int) -> None:
    with pytest.raises(GatewayError) as error:
        decode({"INPUT0": [0] * count}, model("INT32", *dimensions))
    assert error.value.message == "The schema can not convert input 'INPUT0' to tensor with proper shape"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "request body: expected JSON, .* at byte 0"),
        (b"[]", "request body: expected a JSON object, got an array"),
        ({"id": 1}, "id: expected a string, got 1"),
        ({"PROMPT": 1}, r"PROMPT\[0\]: expected a string, got 1"),
        ({"PROMPT": {}}, r"PROMPT\[0\]: expected a string, got an object"),
        ({"PROMPT": None}, r"PROMPT\[0\]: expected a string, got null"),
        ({"PROMPT": [["hi", "you"]]}, r"PROMPT: expected 1 elements for shape \[1,1\], got 2"),
        ({"STREAM": 1}, r"STREAM\[0\]: expected true or false, got 1"),
        ({"foo": {}}, "parameter 'foo' has invalid type. It should be either 'int', 'bool', or 'string'."),
        ({"foo": [1]}, "parameter 'foo' has invalid type. .*"),
        ({"parameters": 1}, "Expected JSON object for keyword: 'parameters': got 1"),
        ({"parameters": {"parameters": {}}}, "parameter 'parameters' has invalid type. .*"),
        (
            {"PROMPT": "a", "parameters": {"PROMPT": "b"}},
            "Converting keyword: 'parameters': input 'PROMPT' already exists in request",
        ),
        ({"triton_x": 7}, "parameter keys starting with 'triton_' are reserved .*"),
    ],
)
def test_a_mistake_is_a_client_error(body: Any, message: str) -> None:
    with pytest.raises(GatewayError) as error:
        decode(body)
    assert error.value.http_status == 400
    assert re.fullmatch(message, error.value.message), error.value.message


def test_nested_lists_are_counted_at_the_top_and_read_flat_as_in_triton() -> None:
    assert decode({"INPUT0": [[1], [2]]}, model("INT8", -1)).inputs == [Tensor("INPUT0", "INT8", (2,), b"\x01\x02")]


def test_half_floats_are_refused() -> None:
    with pytest.raises(GatewayError, match=r"^receiving FP16 data via JSON is not supported"):
        decode({"INPUT0": 1.0}, model("FP16", -1))


def test_parameters_of_a_sequence_are_checked() -> None:
    assert decode({"sequence_id": 7, "priority": 1}).parameters == {"sequence_id": 7, "priority": 1}
    with pytest.raises(GatewayError, match=r"^parameters.timeout: "):
        decode({"timeout": "abc"})


@given(
    st.dictionaries(
        st.sampled_from(('"PROMPT"', '"STREAM"', '"input_ids"', '"x"', '"id"', '"parameters"')),
        st.one_of(numbers, strings, others, arrays(st.one_of(numbers, strings, others))),
    )
)
def test_any_object_is_a_request_or_a_client_error(members: dict[str, str]) -> None:
    text = "{" + ",".join(f"{name}:{value}" for name, value in members.items()) + "}"
    error = error_from(lambda: decode(text.encode("utf-8", "surrogatepass")))
    assert error is None or error.http_status == 400


# Replies.


def test_members_are_sorted_and_one_element_is_a_scalar() -> None:
    text = Tensor("TEXT", "BYTES", (1, 1), join_elements([b"hi"]))
    assert generate.encode_reply(InferReply("mock_llm", "1", "", {"triton_final_response": False}, [text])) == (
        b'{"TEXT":"hi","model_name":"mock_llm","model_version":"1"}'
    )
    assert generate.encode_reply(InferReply("mock_llm", "1", "42", {"a": 1.5, "zz": "x"}, [text])) == (
        b'{"TEXT":"hi","a":1.5,"id":"42","model_name":"mock_llm","model_version":"1","zz":"x"}'
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], b"[]"),
        ([1.0], b"1.0"),
        ([1, 2, 3], b"[1.0,2.0,3.0]"),
        ([np.nan], b"NaN"),
        ([-np.inf, 1], b"[-Infinity,1.0]"),
    ],
)
def test_more_elements_are_a_flat_list(values: list[float], text: bytes) -> None:
    tensor = Tensor("OUTPUT0", "FP32", (1, len(values)), np.float32(values).tobytes())
    assert generate.encode_reply(InferReply("id_fp32", "1", outputs=[tensor])) == (
        b'{"OUTPUT0":' + text + b',"model_name":"id_fp32","model_version":"1"}'
    )


def test_errors_are_the_same_object() -> None:
    assert generate.encode_error("An Error Occurred") == b'{"error":"An Error Occurred"}'


@pytest.mark.parametrize(
    ("body", "sequence"),
    [
        (b'{"sequence_id": 7}', "7"),
        (b'{"sequence_id": "a"}', "a"),
        (b'{"parameters": {"sequence_id": 8}, "sequence_id": 7}', "8"),
        (b'{"sequence_id": 0}', ""),
        (b'{"sequence_id": true}', ""),
        (b'{"sequence_id": [1]}', ""),
        (b'{"parameters": 1}', ""),
        (b"[]", ""),
        (b"{", ""),
    ],
)
def test_the_sequence_of_a_body(body: bytes, sequence: str) -> None:
    assert generate.sequence_of(generate.sequencing_of(body)) == sequence


def test_what_a_body_says_of_its_sequence() -> None:
    body = (
        b'{"sequence_id": 1, "sequence_start": true, "x": 2, "parameters": {"sequence_id": 3, "sequence_end": false}}'
    )
    assert generate.sequencing_of(body) == {"sequence_id": 3, "sequence_start": True, "sequence_end": False}
