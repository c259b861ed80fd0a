"""The fast reader against the exact one: the same request or the same error, whichever read the text."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import orjson
import pytest
from hypothesis import given, settings

from tests.support.json_requests import bodies
from transcoding import json_large
from transcoding.dialects import oip_json
from transcoding.message import InferRequest
from transcoding.status import GatewayError


@contextmanager
def large_from(size: int) -> Iterator[None]:
    before = json_large.WORTHWHILE
    json_large.WORTHWHILE = size
    try:
        yield
    finally:
        json_large.WORTHWHILE = before


def outcome(decode: Callable[[], InferRequest]) -> object:
    try:
        request = decode()
    except GatewayError as error:
        return error.http_status, error.message
    for tensor in request.inputs:
        tensor.data = None if tensor.data is None else bytes(tensor.data)
    return repr(request)


@settings(max_examples=500)
@given(bodies())
def test_both_readers_agree(body: bytes) -> None:
    with large_from(0):
        fast = outcome(lambda: oip_json.decode_request(body, None, "m", ""))
    with large_from(sys.maxsize):
        assert outcome(lambda: oip_json.decode_request(body, None, "m", "")) == fast


def request(data: object, datatype: str, shape: list[int]) -> bytes:
    text = {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]}
    return orjson.dumps(text, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT8", "UINT8", "INT16", "UINT32", "INT64", "UINT64"])
def test_numbers_are_read_without_the_exact_reader(datatype: str) -> None:
    code = {"FP32": "<f4", "FP64": "<f8"}.get(datatype) or f"<{datatype[0].lower().replace('u', 'u')}"
    if datatype not in ("FP32", "FP64"):
        code = f"<{'u' if datatype[0] == 'U' else 'i'}{int(datatype.lstrip('UINT')) // 8}"
    generator = np.random.default_rng(0)
    array = generator.integers(0, 100, (2, 3, 4)).astype(code)
    if code[1] == "f":
        array = generator.random((2, 3, 4)).astype(code)
    document = json_large.read(request(array, datatype, [2, 3, 4]))
    packed = document["inputs"][0]["data"]
    assert (bytes(packed.raw), packed.elements) == (array.tobytes(), 24)


@pytest.mark.parametrize(
    ("data", "datatype"),
    [
        ("[1,2.0]", "INT32"),
        ("[1,true]", "INT32"),
        ("[1,true]", "FP32"),
        ("[1,null]", "FP32"),
        ('[1,"2"]', "FP64"),
        ("[1,300]", "UINT8"),
        ("[1,-1]", "UINT64"),
        ("[1,9223372036854775808]", "INT64"),
        ("[1,18446744073709551616]", "FP64"),
        ("[1,1e39]", "FP32"),
        ("[1,NaN]", "FP32"),
        ("1", "FP32"),
    ],
)
def test_a_doubt_is_left_to_the_exact_reader(data: str, datatype: str) -> None:
    body = f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[2],"data":{data}}}]}}'.encode()
    assert json_large.read(body) is None


def test_repeated_keys_and_escapes_are_doubts() -> None:
    assert json_large.read(b'{"inputs":[],"inputs":[]}') is None
    assert json_large.read(b'{"inputs":[{"name":"x","name":"y"}]}') is None
    assert json_large.read(b'{"id":"\\u0041","inputs":[]}') is None
    assert json_large.read(b"[]") is None


def test_unknown_keys_are_left_out() -> None:
    assert json_large.read(b'{"z":{"a":[1]},"inputs":[{"q":[[1]]}],"id":"i"}') == {"inputs": [{}], "id": "i"}


def test_the_parser_is_free_again_after_every_outcome() -> None:
    """It refuses to work while a view into its last document lives."""
    good = request([1.0, 2.0], "FP32", [2])
    keep = [json_large.read(good)]
    for bad in (request(["a"], "FP32", [1]), b"{", b'{"inputs":[1]}', b'{"inputs":[{"data":{}}]}'):
        assert json_large.read(bad) is None
        keep.append(json_large.read(good))
    gc.collect()
    assert [bytes(document["inputs"][0]["data"].raw) for document in keep] == [np.float32([1, 2]).tobytes()] * 5


def test_strings_and_booleans_are_plain_lists() -> None:
    body = (
        b'{"inputs":[{"name":"s","datatype":"BYTES","shape":[2],"data":["a","b"]},'
        b'{"name":"b","datatype":"BOOL","shape":[1],"data":[[true]]}]}'
    )
    assert [item["data"] for item in json_large.read(body)["inputs"]] == [["a", "b"], [[True]]]
