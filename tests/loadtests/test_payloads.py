"""The same tensors in each dialect, and checks that notice a wrong answer."""

from __future__ import annotations

import base64
import struct
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from google.protobuf import json_format
from tritonclient.grpc import service_pb2

from loadtests.exchange import Dialect, Exchange, WrongAnswerError
from loadtests.obvious_build import decode
from loadtests.payloads import image, small

pb: Any = service_pb2
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
SUM, DIFFERENCE = np.arange(4, 20, dtype="<i4"), np.arange(-2, 14, dtype="<i4")


def reply(outputs: dict[str, Any]) -> Any:
    message = pb.ModelInferResponse(model_name="m", model_version="1")
    for name, values in outputs.items():
        datatype = {"i": "INT32", "f": "FP32"}[values.dtype.kind]
        message.outputs.add(name=name, datatype=datatype, shape=[1, values.size])
        message.raw_output_contents.append(values.tobytes())
    return message


def as_dialect(dialect: Dialect, outputs: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """An answer as Triton, or Envoy's transcoder, would write it."""
    message = reply(outputs)
    if dialect == "grpc":
        data = message.SerializeToString()
        return {}, struct.pack(">BI", 0, len(data)) + data
    if dialect == "proto_json":
        return {}, json_format.MessageToJson(message).encode()
    tensors = [{"name": n, "shape": [1, v.size], "data": v.tolist()} for n, v in outputs.items()]
    if dialect == "oip_json":
        return {}, orjson.dumps({"outputs": tensors})
    head = orjson.dumps({"outputs": [_binary(t, outputs[t["name"]]) for t in tensors]})
    return {"inference-header-content-length": str(len(head))}, head + b"".join(v.tobytes() for v in outputs.values())


def _binary(tensor: dict[str, Any], values: Any) -> dict[str, Any]:
    rest = {key: value for key, value in tensor.items() if key != "data"}
    return rest | {"parameters": {"binary_data_size": values.nbytes}}


def tensors_of(exchange: Exchange) -> list[tuple[str, list[int], str, bytes]]:
    """Name, shape, datatype and raw bytes of each input, whatever the dialect."""
    headers = dict(exchange.headers)
    if exchange.dialect == "grpc":
        message = pb.ModelInferRequest.FromString(exchange.body[5:])
        assert struct.unpack(">BI", exchange.body[:5]) == (0, len(exchange.body) - 5)
    elif exchange.dialect == "proto_json":
        message = json_format.Parse(exchange.body, pb.ModelInferRequest())
        for tensor in message.inputs:
            contents, dtype = (
                (tensor.contents.int_contents, "<i4")
                if tensor.datatype == "INT32"
                else (
                    tensor.contents.fp32_contents,
                    "<f4",
                )
            )
            message.raw_input_contents.append(np.array(contents, dtype=dtype).tobytes())
    else:
        length = headers.get("inference-header-content-length")
        message = decode("m", exchange.body, int(length) if length else None)
    pairs = zip(message.inputs, message.raw_input_contents, strict=True)
    return [(t.name, list(t.shape), t.datatype, raw) for t, raw in pairs]


@pytest.mark.parametrize("payload", [small, image])
def test_all_dialects_carry_the_same_tensors(payload: Any) -> None:
    first, *others = [tensors_of(payload(dialect)) for dialect in DIALECTS]
    assert all(other == first for other in others)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_right_answer_is_accepted(dialect: Dialect) -> None:
    small(dialect).verify(*as_dialect(dialect, {"OUTPUT0": SUM, "OUTPUT1": DIFFERENCE}))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_wrong_number_is_noticed(dialect: Dialect) -> None:
    with pytest.raises(WrongAnswerError, match="OUTPUT1"):
        small(dialect).verify(*as_dialect(dialect, {"OUTPUT0": SUM, "OUTPUT1": DIFFERENCE + 1}))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_missing_output_is_noticed(dialect: Dialect) -> None:
    with pytest.raises(WrongAnswerError, match="OUTPUT1 is missing"):
        small(dialect).verify(*as_dialect(dialect, {"OUTPUT0": SUM}))


def test_the_image_is_summed() -> None:
    [(_, shape, datatype, raw)] = tensors_of(image("grpc"))
    assert (shape, datatype) == ([1, 3, 224, 224], "FP32")
    total = np.frombuffer(raw, dtype="<f4").sum(dtype=np.float64)
    image("oip_json").verify(*as_dialect("oip_json", {"SUM": np.array([total], dtype="<f4")}))


def test_base64_is_what_the_transcoder_answers() -> None:
    """Guards the documented shape of the transcoder's answer, which `proto_json` relies on."""
    _, body = as_dialect("proto_json", {"OUTPUT0": SUM})
    assert base64.b64decode(orjson.loads(body)["rawOutputContents"][0]) == SUM.tobytes()
