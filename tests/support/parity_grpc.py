"""gRPC calls that Triton and the gateway are asked alike."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2 as pb

from tests.support.grpc_raw import SERVICE


@dataclass(frozen=True)
class Call:
    """One unary call. With a `difference` the gateway ends with `code`, and Triton otherwise."""

    name: str
    method: str
    message: bytes
    difference: str = ""
    code: str = "INVALID_ARGUMENT"


@dataclass(frozen=True)
class Stream:
    """One `ModelStreamInfer` of these messages, which brings `replies` replies."""

    name: str
    messages: Sequence[bytes]
    replies: int


def request(
    model: str = "id_fp32",
    raw: Sequence[bytes] | None = (struct.pack("<f", 1.5),),
    datatype: str = "FP32",
    shape: Sequence[int] = (1,),
    name: str = "INPUT0",
    version: str = "",
    id: str = "",
    outputs: Sequence[str] = (),
    **parameters: Any,
) -> Any:
    """A ModelInferRequest of one input; `parameters` are (field of InferParameter, value)."""
    message = pb.ModelInferRequest(model_name=model, model_version=version, id=id, raw_input_contents=raw or [])
    message.inputs.add(name=name, datatype=datatype, shape=shape)
    for output in outputs:
        message.outputs.add(name=output)
    for key, (field, value) in parameters.items():
        setattr(message.parameters[key], field, value)
    return message


def infer(name: str, message: Any, difference: str = "", code: str = "INVALID_ARGUMENT") -> Call:
    return Call(name, SERVICE + "ModelInfer", message.SerializeToString(), difference, code)


def params(name: str, difference: str = "", **parameters: Any) -> Call:
    message = request("params", [struct.pack("<i", 1)], "INT32", **parameters)
    return infer(name, message, difference)


def contents(datatype: str = "FP32", model: str = "id_fp32", raw: Sequence[bytes] = (), **values: Any) -> Any:
    message = request(model, raw, datatype)
    for field, value in values.items():
        getattr(message.inputs[0].contents, field).extend(value)
    return message


def pair(left: Sequence[int], right: Sequence[int]) -> Any:
    message = request("simple", [], "INT32", left)
    message.inputs.add(name="INPUT1", datatype="INT32", shape=right)
    for shape in (left, right):
        message.raw_input_contents.append(bytes(4 * shape[0] * shape[1]))
    return message


INFER = [
    infer("raw", request()),
    infer("with an id", request(id="abc")),
    infer("version 1", request(version="1")),
    infer("contents", contents(fp32_contents=[1.5])),
    infer("contents of INT64", contents("INT64", "id_int64", int64_contents=[-7])),
    infer("contents of text", contents("BYTES", "id_string", bytes_contents=[b"\xff"])),
    infer("contents and raw", contents(raw=[bytes(4)], fp32_contents=[1.5])),
    infer("no data", request(raw=None)),
    infer("contents of another type", contents(int_contents=[1])),
    infer("contents in FP16", contents("FP16", "id_fp16", fp32_contents=[1.5])),
    infer("raw of another size", request(raw=[bytes(8)])),
    infer("more raw than inputs", request(raw=[bytes(4), bytes(4)])),
    infer("wrong datatype", request(datatype="INT64", raw=[bytes(8)])),
    infer("unknown datatype", request(datatype="FP99")),
    infer("negative dimension", request(shape=[-1])),
    infer("wrong rank", request(shape=[1, 1])),
    infer("no elements", request(raw=[b""], shape=[0])),
    infer("unknown model", request("nope")),
    infer("no model", request("")),
    infer("a version that is none", request(version="x"), "version-text", "NOT_FOUND"),
    infer("version 0", request(version="0")),
    infer("version -1", request(version="-1"), "version-text", "NOT_FOUND"),
    infer("unknown version", request(version="7")),
    infer("a decoupled model", request("repeat_int32", [bytes(4)], "INT32", name="IN")),
    infer("unknown input", request(name="X")),
    infer("unknown output", request(outputs=["Z"])),
    infer("the same output twice", request(outputs=["OUTPUT0", "OUTPUT0"])),
    infer("an input too few", request("simple", [bytes(64)], "INT32", [1, 16])),
    infer("batches differ", pair([1, 16], [2, 16])),
    infer("batch of 8", pair([8, 16], [8, 16])),
    infer("batch too large", pair([9, 16], [9, 16])),
    params("custom", a=("int64_param", 1), b=("string_param", "s"), c=("bool_param", True), d=("double_param", 1.5)),
    params("uint64", a=("uint64_param", 1)),
    params("negative sequence", sequence_id=("int64_param", -1)),
    params("uint64 sequence", sequence_id=("uint64_param", 1)),
    params("text sequence", sequence_id=("string_param", "abc"), sequence_start=("bool_param", True)),
    params("text timeout", timeout=("string_param", "x")),
    params("uint64 timeout", timeout=("uint64_param", 1)),
    params("timeout", timeout=("int64_param", 1000)),
    params("uint64 priority", priority=("uint64_param", 1)),
    params("reserved", triton_x=("int64_param", 1)),
    params("empty final response", triton_enable_empty_final_response=("bool_param", True)),
    *(infer(f"the model fails in way {way}", request("fails", [struct.pack("<i", way)], "INT32")) for way in range(11)),
    infer(
        "a sequence not started",
        request("sequence_sum", [bytes(4)], "INT32", [1, 1], "INPUT", sequence_id=("int64_param", 77)),
    ),
    infer("a sequence without an id", request("sequence_sum", [bytes(4)], "INT32", [1, 1], "INPUT")),
    Call("no protobuf", SERVICE + "ModelInfer", b"\xff\xff", "malformed-protobuf"),
]


def manage(what: str, method: str, difference: str = "", code: str = "NOT_FOUND", /, **fields: Any) -> Call:
    message = getattr(pb, f"{method}Request")(**fields)
    return Call(f"{method}: {what}", SERVICE + method, message.SerializeToString(), difference, code)


def load(name: str, difference: str = "", **parameters: Any) -> Call:
    message = pb.RepositoryModelLoadRequest(model_name="simple")
    for key, (field, value) in parameters.items():
        setattr(message.parameters[key], field, value)
    return Call(f"load: {name}", SERVICE + "RepositoryModelLoad", message.SerializeToString(), difference)


MANAGEMENT = [
    manage("now", "ServerLive"),
    manage("now", "ServerReady"),
    manage("ours", "ServerMetadata"),
    *(
        manage(f"{model} {version}", method, name=model, version=version)
        for method in ("ModelReady", "ModelMetadata", "ModelConfig")
        for model, version in (("simple", ""), ("simple", "1"), ("simple", "9"), ("nope", ""))
    ),
    manage("a version that is none", "ModelReady", "version-text", "OK", name="simple", version="x"),
    manage("a version that is none", "ModelMetadata", "version-text", name="simple", version="x"),
    manage("a version that is none", "ModelConfig", "version-text", name="simple", version="x"),
    manage("one", "ModelStatistics", name="simple"),
    manage("all", "ModelStatistics"),
    manage("unknown", "ModelStatistics", "unknown-model-404", name="nope"),
    manage("all", "RepositoryIndex"),
    manage("ready", "RepositoryIndex", ready=True),
    manage("named", "RepositoryIndex", repository_name="x"),
    manage("unknown", "RepositoryModelLoad", model_name="nope"),
    manage("named", "RepositoryModelLoad", model_name="simple", repository_name="x"),
    load("unknown parameter", foo=("string_param", "x")),
    load("configuration as bytes", config=("bytes_param", b"{}")),
    manage("unknown", "RepositoryModelUnload", model_name="nope"),
    manage("all", "SystemSharedMemoryStatus"),
    manage("unknown", "SystemSharedMemoryStatus", name="x"),
    manage("nowhere", "SystemSharedMemoryRegister", name="r", key="/penstock-nowhere", byte_size=8),
    manage("unknown", "SystemSharedMemoryUnregister", name="x"),
    manage("all", "CudaSharedMemoryStatus"),
    manage("short", "CudaSharedMemoryRegister", name="r", raw_handle=b"x", byte_size=8),
    manage("all", "CudaSharedMemoryUnregister"),
    manage("global", "TraceSetting"),
    manage("of a model", "TraceSetting", model_name="simple"),
    manage("of an unknown model", "TraceSetting", "unknown-model-404", model_name="nope"),
    manage("now", "LogSettings"),
    Call("an unknown method", SERVICE + "Nothing", b"", "unknown-method", "UNIMPLEMENTED"),
    Call("an unknown service", "/nowhere.Service/Nothing", b"", "unknown-method", "UNIMPLEMENTED"),
    Call("health", "/grpc.health.v1.Health/Check", b""),
    Call(
        "health of the service",
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService").SerializeToString(),
    ),
    Call(
        "health of another service",
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service="bogus").SerializeToString(),
        "health-service",
        "NOT_FOUND",
    ),
    # The last, since a Triton that failed to load a model does not call itself ready any more.
    manage("bad", "RepositoryModelLoad", model_name="badload"),
]


def repeat(values: Sequence[int], id: str = "", **parameters: Any) -> bytes:
    message = pb.ModelInferRequest(model_name="repeat_int32", id=id)
    for name, datatype, count in (
        ("IN", "INT32", len(values)),
        ("DELAY", "UINT32", len(values)),
        ("WAIT", "UINT32", 1),
    ):
        message.inputs.add(name=name, datatype=datatype, shape=[count])
    message.raw_input_contents.extend([struct.pack(f"<{len(values)}i", *values), bytes(4 * len(values)), bytes(4)])
    for key, (field, value) in parameters.items():
        setattr(message.parameters[key], field, value)
    return bytes(message.SerializeToString())


_FINAL = {"triton_enable_empty_final_response": ("bool_param", True)}
_PLAIN = request(id="y").SerializeToString()

STREAMS = [
    Stream("three responses", [repeat([1, 2, 3], "a")], 3),
    Stream("no response", [repeat([], "a")], 0),
    Stream("with the final one", [repeat([1, 2], "a", **_FINAL)], 3),
    Stream("the final one alone", [repeat([], "b", **_FINAL)], 1),
    Stream("an error between", [repeat([1, -1, 3], "a", **_FINAL)], 4),
    Stream("an unknown model, then another", [request("nope", id="x").SerializeToString(), _PLAIN], 2),
    Stream(
        "a wrong datatype, then a good one",
        [request(datatype="INT64", raw=[bytes(8)], id="bad").SerializeToString(), _PLAIN],
        2,
    ),
    Stream("a model that does not stream", [_PLAIN], 1),
    Stream("the order of requests", [request(id=str(index)).SerializeToString() for index in range(5)], 5),
    Stream("a version", [request("two_versions", [bytes(4)], "INT32", version="1").SerializeToString()], 1),
    Stream("nothing", [], 0),
]
