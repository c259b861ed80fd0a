"""The obvious build's codecs; the benchmark itself checks its answers before it times them."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2

from loadtests.obvious_build import decode, encode

pb: Any = service_pb2


def test_decode_json_tensors() -> None:
    body = b'{"inputs":[{"name":"X","shape":[2],"datatype":"INT32","data":[1,2]}]}'
    message = decode("m", body, None)
    assert message.model_name == "m"
    assert message.raw_input_contents[0] == np.array([1, 2], dtype="<i4").tobytes()


def test_decode_binary_tensors() -> None:
    head = b'{"inputs":[{"name":"X","shape":[2],"datatype":"INT32","parameters":{"binary_data_size":8}}]}'
    assert decode("m", head + b"\1\0\0\0\2\0\0\0", len(head)).raw_input_contents[0] == b"\1\0\0\0\2\0\0\0"


def test_decode_refuses_an_unknown_datatype() -> None:
    with pytest.raises(KeyError):
        decode("m", b'{"inputs":[{"name":"X","shape":[1],"datatype":"FP8","data":[1]}]}', None)


def test_encode_renders_numbers() -> None:
    reply = pb.ModelInferResponse(model_name="m", model_version="1")
    reply.outputs.add(name="Y", datatype="FP32", shape=[1])
    reply.raw_output_contents.append(np.array([1.5], dtype="<f4").tobytes())
    assert orjson.loads(encode(reply))["outputs"] == [{"name": "Y", "datatype": "FP32", "shape": [1], "data": [1.5]}]
