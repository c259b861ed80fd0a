"""The requests of the benchmarks: the same tensors in each dialect that a peer's clients speak.

`oip_json` and `oip_binary` are the Open Inference Protocol over REST, `grpc` the same over gRPC. `proto_json` is what
Envoy's transcoder takes: protobuf's own JSON mapping of `ModelInferRequest`, in which numbers travel in typed
`contents` and Triton's answer comes back as base64 in `rawOutputContents`. It renders no numbers, so Envoy does less
work there than a gateway that answers with numbers.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from loadtests.exchange import Dialect, Exchange, Headers, WrongAnswerError

Array = NDArray[Any]
Tensors = dict[str, Array]
pb: Any = service_pb2  # its classes are made when it is imported

GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
_TYPES = {"int32": "INT32", "float32": "FP32"}
_CONTENTS = {"int32": "int_contents", "float32": "fp32_contents"}
_JSON: Headers = (("content-type", "application/json"),)
_GRPC: Headers = (("content-type", "application/grpc"), ("te", "trailers"))


def small(dialect: Dialect) -> Exchange:
    """Two INT32[1,16] tensors to the model `simple`, which answers with sum and difference: 0.25 KB as JSON."""
    left = np.arange(1, 17, dtype=np.int32).reshape(1, 16)
    right = np.full((1, 16), 3, dtype=np.int32)
    return _exchange(
        dialect, "simple", {"INPUT0": left, "INPUT1": right}, {"OUTPUT0": left + right, "OUTPUT1": left - right}
    )


def image(dialect: Dialect) -> Exchange:
    """One FP32[1,3,224,224] tensor to the model `image_sum`: 0.6 MB as binary, 1.6 MB as JSON; a number comes back."""
    values = np.random.default_rng(224).random((1, 3, 224, 224), dtype=np.float32)
    total = values.sum(axis=(1, 2, 3), dtype=np.float64).astype(np.float32).reshape(1, 1)
    return _exchange(dialect, "image_sum", {"IMAGE": values}, {"SUM": total})


def _exchange(dialect: Dialect, model: str, inputs: Tensors, outputs: Tensors) -> Exchange:
    build, read = _DIALECTS[dialect]
    path, headers, body = build(model, inputs)

    def verify(reply_headers: dict[str, str], reply: bytes) -> None:
        _compare(outputs, read(reply_headers, reply, outputs))

    return Exchange(dialect, path, headers, body, verify)


def _compare(expected: Tensors, got: Tensors) -> None:
    for name, values in expected.items():
        if name not in got:
            raise WrongAnswerError(f"output {name} is missing: got {sorted(got)}")
        if not np.allclose(values.ravel(), got[name].ravel(), rtol=1e-6):
            raise WrongAnswerError(f"output {name}: expected {values.ravel()[:4]}..., got {got[name].ravel()[:4]}...")


# ── Open Inference Protocol over REST ──


def _tensor(name: str, values: Array, **rest: object) -> dict[str, object]:
    return {"name": name, "shape": list(values.shape), "datatype": _TYPES[values.dtype.name], **rest}


def _build_json(model: str, inputs: Tensors) -> tuple[str, Headers, bytes]:
    tensors = [_tensor(name, values, data=values.ravel()) for name, values in inputs.items()]
    return f"/v2/models/{model}/infer", _JSON, orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)


def _build_binary(model: str, inputs: Tensors) -> tuple[str, Headers, bytes]:
    """The binary tensor data extension: a JSON header, then the tensors' bytes one after another."""
    tensors = [_tensor(n, v, parameters={"binary_data_size": v.nbytes}) for n, v in inputs.items()]
    head = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    headers = (("content-type", "application/octet-stream"), ("inference-header-content-length", str(len(head))))
    return f"/v2/models/{model}/infer", headers, b"".join([head, *(v.tobytes() for v in inputs.values())])


def _read_rest(headers: dict[str, str], body: bytes, expected: Tensors) -> Tensors:
    length = int(headers.get("inference-header-content-length", len(body)))
    rest = body[length:]
    got: Tensors = {}
    for output in orjson.loads(body[:length])["outputs"]:
        dtype = expected[output["name"]].dtype
        if "data" in output:
            got[output["name"]] = np.array(output["data"], dtype=dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            got[output["name"]], rest = np.frombuffer(rest[:size], dtype=dtype), rest[size:]
    return got


# ── protobuf's JSON mapping, as Envoy's transcoder takes it ──


def _build_proto_json(model: str, inputs: Tensors) -> tuple[str, Headers, bytes]:
    tensors = [_tensor(n, v, contents={_CONTENTS[v.dtype.name]: v.ravel()}) for n, v in inputs.items()]
    return f"/v2/models/{model}/infer", _JSON, orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)


def _read_proto_json(_headers: dict[str, str], body: bytes, expected: Tensors) -> Tensors:
    reply = orjson.loads(body)
    raws = [base64.b64decode(raw) for raw in reply["rawOutputContents"]]
    return _from_raw([output["name"] for output in reply["outputs"]], raws, expected)


# ── Open Inference Protocol over gRPC ──


def _build_grpc(model: str, inputs: Tensors) -> tuple[str, Headers, bytes]:
    request = pb.ModelInferRequest(model_name=model)
    for name, values in inputs.items():
        request.inputs.add(name=name, datatype=_TYPES[values.dtype.name], shape=values.shape)
        request.raw_input_contents.append(values.tobytes())
    message = request.SerializeToString()
    return GRPC_PATH, _GRPC, struct.pack(">BI", 0, len(message)) + message


def _read_grpc(_headers: dict[str, str], body: bytes, expected: Tensors) -> Tensors:
    reply = pb.ModelInferResponse.FromString(body[5:])
    return _from_raw([output.name for output in reply.outputs], list(reply.raw_output_contents), expected)


def _from_raw(names: Sequence[str], raws: Sequence[bytes], expected: Tensors) -> Tensors:
    pairs = zip(names, raws, strict=True)
    return {name: np.frombuffer(raw, dtype=expected[name].dtype) for name, raw in pairs if name in expected}


_DIALECTS: dict[
    Dialect,
    tuple[Callable[[str, Tensors], tuple[str, Headers, bytes]], Callable[[dict[str, str], bytes, Tensors], Tensors]],
] = {
    "oip_json": (_build_json, _read_rest),
    "oip_binary": (_build_binary, _read_rest),
    "proto_json": (_build_proto_json, _read_proto_json),
    "grpc": (_build_grpc, _read_grpc),
}
