"""Inference that Triton and the gateway are asked alike: what the reference lists as errors and oddities."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

from tests.support.parity import Case

BAD = "malformed-request"
MODELS = (
    "simple",
    "id_fp32",
    "id_fp64",
    "id_int64",
    "id_uint8",
    "id_uint64",
    "id_bool",
    "id_fp16",
    "id_string",
    "id_batched",
    "classify",
    "params",
    "fails",
    "mock_llm",
    "repeat_int32",
    "sequence_sum",
    "two_versions",
    "optional_input",
)
"""The models that these requests are about."""


def infer(
    name: str, model: str, body: Any, headers: Mapping[str, str] | None = None, difference: str = "", status: int = 400
) -> Case:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(name, "POST", f"/v2/models/{model}/infer", content, headers or {}, difference, status)


def tensor(datatype: str, data: Any, shape: Any = None, name: str = "INPUT0", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)] if shape is None else shape, "datatype": datatype, "data": data, **more}


def one(datatype: str, data: Any, shape: Any = None, **request: Any) -> dict[str, Any]:
    return {"inputs": [tensor(datatype, data, shape)], **request}


def without(key: str) -> dict[str, Any]:
    return {"inputs": [{name: value for name, value in tensor("FP32", [1.0]).items() if name != key}]}


def pair(left: Any, right: Any) -> dict[str, Any]:
    return {"inputs": [tensor("INT32", *left, name="INPUT0"), tensor("INT32", *right, name="INPUT1")]}


_OK = one("FP32", [1.5, 2, 3])
_BINARY = {"name": "INPUT0", "shape": [3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}


def binary(header: Any, tail: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    return text + tail, {"Inference-Header-Content-Length": str(len(text)) if length is None else length}


_JSON_TYPES = [
    infer("string in FP32", "id_fp32", one("FP32", ["1"]), difference=BAD),
    infer("null in FP32", "id_fp32", one("FP32", [None]), difference=BAD),
    infer("bool in FP32", "id_fp32", one("FP32", [True]), difference=BAD),
    infer("NaN and infinities", "id_fp32", one("FP32", [math.nan, math.inf, -math.inf])),
    infer(
        "nan in lower case",
        "id_fp32",
        json.dumps(one("FP32", [math.nan])).replace("NaN", "nan").encode(),
        difference=BAD,
    ),
    infer("1e400", "id_fp64", json.dumps(one("FP64", [12.5])).replace("12.5", "1e400").encode(), difference=BAD),
    infer("precision of FP32", "id_fp32", one("FP32", [0.1, 16777217, 3.4e38, 1e-45]), {}, "float-digits", 200),
    infer("exact FP32", "id_fp32", one("FP32", [0.5, 16777216, -0.0, 3])),
    infer("precision of FP64", "id_fp64", one("FP64", [0.1, 1e300, 5e-324, 1])),
    infer("1e39 in FP32", "id_fp32", one("FP32", [1e39]), difference="narrow-numbers"),
    infer("float in INT64", "id_int64", one("INT64", [1.0]), difference=BAD),
    infer("bool in INT64", "id_int64", one("INT64", [True]), difference=BAD),
    infer("ends of INT64", "id_int64", one("INT64", [2**63 - 1, -(2**63)])),
    infer("2^63 in INT64", "id_int64", one("INT64", [2**63]), difference=BAD),
    infer("end of UINT64", "id_uint64", one("UINT64", [2**64 - 1])),
    infer("2^64 in UINT64", "id_uint64", one("UINT64", [2**64]), difference=BAD),
    infer("300 in UINT8", "id_uint8", one("UINT8", [300, 255]), difference="narrow-numbers"),
    infer("-1 in UINT8", "id_uint8", one("UINT8", [-1]), difference=BAD),
    infer("1 in BOOL", "id_bool", one("BOOL", [1]), difference=BAD),
    infer("BOOL", "id_bool", one("BOOL", [True, False])),
    infer("FP16 as JSON", "id_fp16", one("FP16", [1.0])),
    infer("no FP16 as JSON", "id_fp16", one("FP16", [], [0]), {}, "half-precision"),
    infer("text", "id_string", one("BYTES", ["h\u00e9", "", "a\u0000b", '"\\']), {}),
    infer("number in BYTES", "id_string", one("BYTES", [1]), difference=BAD),
    infer("unknown datatype", "id_fp32", one("FP99", [1.0]), {}, "error-text"),
    infer("wrong datatype", "id_fp32", one("INT64", [1])),
]

_SHAPES = [
    infer("nested data", "id_fp32", one("FP32", [[1, 2], [3, 4]], [4])),
    infer("ragged data", "id_fp32", one("FP32", [[1], [2, 3], 4], [4])),
    infer("too little data", "id_fp32", one("FP32", [1], [2]), difference=BAD),
    infer("too much data", "id_fp32", one("FP32", [1, 2, 3], [2]), difference=BAD),
    infer("scalar data", "id_fp32", one("FP32", 1, [1]), difference=BAD),
    infer("wrong rank", "id_fp32", one("FP32", [1, 2], [1, 2])),
    infer("shape of nothing", "id_fp32", one("FP32", [1], [])),
    infer("no elements", "id_fp32", one("FP32", [], [0])),
    infer("negative dimension", "id_fp32", one("FP32", [1], [-1]), difference=BAD),
    infer("float dimension", "id_fp32", one("FP32", [1], [1.0]), difference=BAD),
    infer("text dimension", "id_fp32", one("FP32", [1], ["1"]), difference=BAD),
    infer("shape is no list", "id_fp32", one("FP32", [1], 1), difference=BAD),
    infer("wrong dimension", "simple", pair((list(range(8)), [1, 8]), (list(range(8)), [1, 8]))),
    infer("batches differ", "simple", pair((list(range(16)), [1, 16]), (list(range(32)), [2, 16]))),
    infer("batch too large", "simple", pair((list(range(144)), [9, 16]), (list(range(144)), [9, 16]))),
]

_DOCUMENTS = [
    infer("a valid request", "id_fp32", _OK),
    infer("with an id", "id_fp32", {**_OK, "id": "abc"}),
    infer("unknown keys", "id_fp32", {**_OK, "x": {"y": [1]}}),
    infer("empty body", "id_fp32", b"", difference="empty-body"),
    infer("empty object", "id_fp32", {}, difference=BAD),
    infer("no JSON", "id_fp32", b"hello", difference=BAD),
    infer("an array", "id_fp32", [], difference=BAD),
    infer("junk behind", "id_fp32", json.dumps(_OK).encode() + b"x", difference=BAD),
    infer("space behind", "id_fp32", json.dumps(_OK).encode() + b" \r\n"),
    infer("a trailing comma", "id_fp32", json.dumps(_OK).encode()[:-1] + b",}", difference=BAD),
    infer("a byte order mark", "id_fp32", b"\xef\xbb\xbf" + json.dumps(_OK).encode(), {}, "byte-order-mark"),
    infer("no inputs", "id_fp32", {"inputs": []}),
    infer("inputs is no list", "id_fp32", {"inputs": {}}, difference=BAD),
    infer("input is no object", "id_fp32", {"inputs": [1]}, difference=BAD),
    *(infer(f"no {key}", "id_fp32", without(key), difference=BAD) for key in ("name", "shape", "datatype")),
    infer("no data", "id_fp32", without("data")),
    infer("id is a number", "id_fp32", {**_OK, "id": 1}, difference=BAD),
    infer("outputs is no list", "id_fp32", {**_OK, "outputs": 1}, difference=BAD),
    infer("output without a name", "id_fp32", {**_OK, "outputs": [{}]}, difference=BAD),
    infer("unknown model", "nope", _OK),
    infer("an input too few", "simple", {"inputs": [tensor("INT32", list(range(16)), [1, 16])]}),
    infer("unknown input", "id_fp32", {"inputs": [tensor("FP32", [1], name="X")]}),
    infer("the same input twice", "id_fp32", {"inputs": [tensor("FP32", [1]), tensor("FP32", [1])]}),
    infer("unknown output", "id_fp32", {**_OK, "outputs": [{"name": "Z"}]}),
    infer("the same output twice", "id_fp32", {**_OK, "outputs": [{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]}),
    infer("an optional input", "optional_input", one("FP32", [1, 2])),
    infer("a decoupled model", "repeat_int32", {"inputs": [tensor("INT32", [1], name="IN")]}, {}, "error-text", 501),
]

_SOURCES = [
    infer("data and binary", "id_fp32", *binary({"inputs": [{**_BINARY, "data": [1, 2, 3]}]}, bytes(12))),
    infer(
        "unknown region",
        "id_fp32",
        {"inputs": [{**_BINARY, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 12}}]},
    ),
    infer("binary", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(12))),
    infer("too little binary", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(8))),
    infer("too much binary", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(16))),
    infer(
        "binary of another size",
        "id_fp32",
        *binary({"inputs": [{**_BINARY, "parameters": {"binary_data_size": 8}}]}, bytes(8)),
    ),
    infer(
        "binary of no size",
        "id_fp32",
        *binary({"inputs": [{**_BINARY, "shape": [0], "parameters": {"binary_data_size": 0}}]}, b""),
    ),
    infer(
        "size is a float",
        "id_fp32",
        *binary({"inputs": [{**_BINARY, "parameters": {"binary_data_size": 12.0}}]}, bytes(12)),
        difference=BAD,
    ),
    infer("length too large", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(12), "100000")),
    infer("length negative", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(12), "-1"), difference="header-length"),
    infer("length no number", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(12), "abc"), difference="header-length"),
    infer("length a float", "id_fp32", *binary({"inputs": [_BINARY]}, bytes(12), "10.5"), difference="header-length"),
    infer("length missing", "id_fp32", binary({"inputs": [_BINARY]}, bytes(12))[0], difference=BAD),
    infer("raw", "id_fp32", bytes(12), {"Inference-Header-Content-Length": "0"}),
    infer("raw text", "id_string", b"hello", {"Inference-Header-Content-Length": "0"}, "error-text"),
    infer("raw for two inputs", "simple", bytes(128), {"Inference-Header-Content-Length": "0"}, "error-text"),
    infer("raw of a broken size", "id_fp32", bytes(13), {"Inference-Header-Content-Length": "0"}, "error-text"),
]


def text_input(tail: bytes, count: int, datatype: str = "BYTES") -> tuple[bytes, dict[str, str]]:
    parameters = {"binary_data_size": len(tail)}
    return binary(
        {"inputs": [{"name": "INPUT0", "shape": [count], "datatype": datatype, "parameters": parameters}]}, tail
    )


_TEXT = [
    infer("binary text", "id_string", *text_input(b"\x01\0\0\0a\0\0\0\0", 2)),
    infer("text that is no UTF-8", "id_string", *text_input(b"\x02\0\0\0\xff\xfe", 1), difference="text-not-utf8"),
    infer("text of another count", "id_string", *text_input(b"\x01\0\0\0a", 2)),
    infer("text with a cut length", "id_string", *text_input(b"\x01\0\0", 1)),
    infer("text with a long length", "id_string", *text_input(b"\x32\0\0\0ab", 1)),
    infer("FP16 out as JSON", "id_fp16", *text_input(bytes(6), 3, "FP16"), "error-text"),
]

_GZIP, _DEFLATE = {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate"}
_PLAIN = json.dumps(_OK).encode()
_ACCEPT = (
    "gzip",
    "deflate",
    "gzip;q=0.5,deflate",
    "identity,gzip",
    "*",
    "br",
    "gzip, deflate",
    "gzip;q=0",
    "deflate;q=0.9, gzip;q=0.91",
)
_COMPRESSION = [
    infer("gzip", "id_fp32", gzip.compress(_PLAIN), _GZIP),
    infer("deflate", "id_fp32", zlib.compress(_PLAIN), _DEFLATE),
    infer("identity", "id_fp32", _PLAIN, {"Content-Encoding": "identity"}),
    infer("deflate without zlib", "id_fp32", zlib.compress(_PLAIN, wbits=-15), _DEFLATE, "broken-compression"),
    infer("gzip that is none", "id_fp32", _PLAIN, _GZIP, "broken-compression"),
    infer("gzip cut off", "id_fp32", gzip.compress(_PLAIN)[:-9], _GZIP, "broken-compression"),
    infer("brotli", "id_fp32", _PLAIN, {"Content-Encoding": "br"}, "unsupported-encoding", 415),
    infer("GZIP", "id_fp32", gzip.compress(_PLAIN), {"Content-Encoding": "GZIP"}, "encoding-case", 200),
    infer("an error is not compressed", "nope", _PLAIN, {"Accept-Encoding": "gzip"}),
    *(infer(f"accepting {accept}", "id_fp32", _PLAIN, {"Accept-Encoding": accept}) for accept in _ACCEPT),
]


def parameters(name: str, value: Any, difference: str = "") -> Case:
    return infer(name, "params", {"inputs": [tensor("INT32", [1])], "parameters": value}, {}, difference)


_PARAMETERS = [
    parameters("none", {}),
    parameters("custom", {"a": 1, "b": "s", "c": True, "d": 1.5, "e": 2**63 - 1}),
    parameters("beyond int64", {"e": 2**63}),
    parameters("null", {"a": None}),
    parameters("list", {"a": [1]}),
    parameters("object", {"a": {}}),
    parameters("no object", [], BAD),
    parameters("sequence", {"sequence_id": 5, "sequence_start": True, "sequence_end": True}),
    parameters("sequence as text", {"sequence_id": "abc"}),
    parameters("largest sequence", {"sequence_id": 2**64 - 1}),
    parameters("negative sequence", {"sequence_id": -1}, BAD),
    parameters("float sequence", {"sequence_id": 1.5}, BAD),
    parameters("start as text", {"sequence_start": "x"}, BAD),
    parameters("priority", {"priority": 1}),
    parameters("negative priority", {"priority": -1}, BAD),
    parameters("timeout", {"timeout": 1000}),
    parameters("timeout as text", {"timeout": "x"}, BAD),
    parameters("negative timeout", {"timeout": -1}, BAD),
    parameters("reserved", {"triton_x": 1}),
    parameters("reserved, and known", {"triton_enable_empty_final_response": True}),
    parameters("headers", {"headers": "x"}),
    parameters("binary output", {"binary_data_output": True}),
    parameters("binary output of another type", {"binary_data_output": 1}, BAD),
]

_ALL_BINARY = {"parameters": {"binary_data_output": True}}


def output(**values: Any) -> dict[str, Any]:
    """The one output, asked for with these parameters."""
    return {"outputs": [{"name": "OUTPUT0", "parameters": values}]}


def classes(name: str, count: Any, difference: str = "") -> Case:
    request = {**one("FP32", [0.1, 0.7, 0.2, 0], [1, 4]), **output(classification=count)}
    return infer(name, "classify", request, {}, difference)


_OUTPUTS = [
    infer("all binary", "id_fp32", {**_OK, **_ALL_BINARY}),
    infer("listed, all binary", "id_fp32", {**_OK, **_ALL_BINARY, "outputs": [{"name": "OUTPUT0"}]}),
    infer("listed as binary", "id_fp32", {**_OK, **output(binary_data=True)}),
    infer("binary as text", "id_fp32", {**_OK, **output(binary_data="x")}, {}, BAD),
    infer("not binary after all", "id_fp32", {**_OK, **_ALL_BINARY, **output(binary_data=False)}),
    infer("empty and binary", "id_fp32", {**one("FP32", [], [0]), **_ALL_BINARY}),
    *(classes(f"{count} classes", count) for count in (1, 2, 4, 9)),
    classes("no classes", 0, "classification-count"),
    classes("half a class", 1.5, BAD),
]

_MODEL_ERRORS = [
    *(infer(f"the model fails in way {code}", "fails", one("INT32", [code])) for code in range(11)),
    infer("a sequence not started", "sequence_sum", {**one("INT32", [1], [1, 1]), "parameters": {"sequence_id": 77}}),
    infer("a sequence without an id", "sequence_sum", one("INT32", [1], [1, 1])),
]

INFER = [
    *_JSON_TYPES,
    *_SHAPES,
    *_DOCUMENTS,
    *_SOURCES,
    *_TEXT,
    *_COMPRESSION,
    *_PARAMETERS,
    *_OUTPUTS,
    *_MODEL_ERRORS,
]
