"""The same REST requests to Triton and through the gateway: equal but for the differences that are documented.

A matrix of datatypes, forms of input and output, compression and batches; then every error and oddity of the reference.
"""

from __future__ import annotations

import gzip
import itertools
import json
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import triton_to_np_dtype

from tests.support import parity_cases, parity_grpc, parity_routes
from tests.support.gateway import start_gateway
from tests.support.model_repository import IDENTITIES
from tests.support.parity import EVERYWHERE, Case, documented, excused, unlike
from tests.support.rest import LENGTH, Answer, rest
from tests.support.triton import start_triton

pytestmark = pytest.mark.triton

CASES = [*parity_cases.INFER, *parity_routes.GENERATE, *parity_routes.PATHS, *parity_routes.MANAGEMENT]
CALLS = [*parity_grpc.INFER, *parity_grpc.MANAGEMENT]
TESTED_ALONE = {
    "health-watch",
    "reflection",
    "harmful-file-names",
    "classification-of-text",
    "triton-grpc-error",
}
"""Identifiers of differences that have a test of their own, in test_parity_grpc.py."""


@cache
def addresses(models: tuple[str, ...]) -> tuple[str, str]:
    """Where REST is served by a Triton with these models, and by a gateway in front of it."""
    triton = start_triton([*models, "badload"], explicit=True)
    return triton.http_address, start_gateway([triton.grpc_address]).address


def ask(case: Case, models: tuple[str, ...] = parity_cases.MODELS) -> tuple[Answer, Answer]:
    """Triton's answer and the gateway's."""
    triton, gateway = addresses(models)
    first, second = (rest(address, case.method, case.path, case.body, case.headers) for address in (triton, gateway))
    return first, second


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_requests(case: Case) -> None:
    triton, gateway = ask(case)
    different = unlike(triton, gateway)
    if case.difference:
        assert gateway.status == case.status, gateway.body
        assert different, f"{case.difference} does not show any more"
        assert case.method == "HEAD" or gateway.status < 400 or list(json.loads(gateway.body)) == ["error"]
    else:
        assert not different


def test_the_document_and_the_cases_name_the_same_differences() -> None:
    used = {case.difference for case in CASES} | {call.difference for call in CALLS} | EVERYWHERE | TESTED_ALONE
    assert used - {""} == documented()


@pytest.mark.parametrize(
    ("identifier", "method", "path"),
    [
        ("error-content-type", "GET", "/v2/nowhere"),
        ("empty-answer-content-type", "GET", "/v2/health/live"),
        ("allow-header", "POST", "/v2"),
    ],
)
def test_differences_that_any_answer_may_show(identifier: str, method: str, path: str) -> None:
    assert identifier in excused(*ask(Case("", method, path)))


# The matrix

IDENTITY_MODELS = tuple(f"id_{name}" for name in IDENTITIES)
NO_JSON = ("FP16", "BF16")
COMPRESS = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
FORMS = {
    "json": {"outputs": [{"name": "OUTPUT0"}]},
    "binary": {"outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]},
    "all binary": {"parameters": {"binary_data_output": True}},
    "unlisted": {},
}


def oip(datatype: str) -> str:
    return "BYTES" if datatype == "STRING" else datatype


def elements(datatype: str, count: int) -> Any:
    """`count` values of a datatype, its extremes among them; floats are those that print alike in 32 and 64 bits."""
    if datatype == "STRING":
        return np.array(["", "h\u00e9", 'q"\\', "x" * 300][:count], np.object_)
    if datatype == "BOOL":
        return np.arange(count) % 2 == 0
    if datatype == "BF16":
        return np.array([0x3F80, 0xC000, 0, 0x7F80][:count], np.uint16)
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if dtype.kind == "f":
        return np.array([0.5, -2.0, 0, 1024][:count], dtype)
    limits = np.iinfo(dtype)
    return np.array([limits.max, limits.min, 0, 7][:count], dtype)


def raw(datatype: str, values: Any) -> bytes:
    if datatype != "STRING":
        return bytes(values.tobytes())
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)


def body(
    datatype: str, form: str, values: Any, shape: list[int], request: dict[str, Any]
) -> tuple[bytes, dict[str, str]]:
    """A request for an identity model in one of the forms `json`, `binary` and `raw`, and its headers."""
    content = raw(datatype, values)
    if form == "raw":
        return content, {LENGTH: "0"}
    tensor: dict[str, Any] = {"name": "INPUT0", "shape": shape, "datatype": oip(datatype)}
    tensor |= {"data": values.tolist()} if form == "json" else {"parameters": {"binary_data_size": len(content)}}
    text = json.dumps({"inputs": [tensor], **request}).encode()
    return (text, {}) if form == "json" else (text + content, {LENGTH: str(len(text))})


@pytest.mark.parametrize("output", FORMS)
@pytest.mark.parametrize("form", ["json", "binary"])
@pytest.mark.parametrize("name", IDENTITIES)
def test_matrix(name: str, form: str, output: str) -> None:
    datatype = IDENTITIES[name]
    as_json = form == "json" or output in ("json", "unlisted")
    refused = datatype in NO_JSON and as_json
    for count, encoding, accept in itertools.product((1, 4) if refused else (0, 1, 4), COMPRESS, COMPRESS):
        values = elements(datatype, count)
        content, headers = body(datatype, form, values, [len(values)], FORMS[output])
        headers |= {"Content-Encoding": encoding} if encoding else {}
        headers |= {"Accept-Encoding": accept} if accept else {}
        case = Case(name, "POST", f"/v2/models/id_{name}/infer", COMPRESS[encoding](content), headers)
        triton, gateway = ask(case, IDENTITY_MODELS)
        different = unlike(triton, gateway)
        if refused:
            different.pop("body", None)  # error-text
        assert not different, (count, encoding, accept)
        assert triton.status == (400 if refused else 200)


@pytest.mark.parametrize("name", [name for name in IDENTITIES if name != "string"])
def test_raw_requests(name: str) -> None:
    datatype = IDENTITIES[name]
    for count in (1, 4):
        values = elements(datatype, count)
        content, headers = body(datatype, "raw", values, [], {})
        case = Case(name, "POST", f"/v2/models/id_{name}/infer", content, headers)
        triton, gateway = ask(case, IDENTITY_MODELS)
        assert not unlike(triton, gateway)
        assert triton.tail == content


@pytest.mark.parametrize("batch", [1, 2, 8, 9])
@pytest.mark.parametrize("form", ["json", "binary"])
def test_batches(batch: int, form: str) -> None:
    values = np.arange(batch * 3, dtype=np.float32)
    for shape, output in itertools.product(([batch, 3], [batch, 3, 1]), FORMS):
        content, headers = body("FP32", form, values, shape, FORMS[output])
        case = Case("", "POST", "/v2/models/id_batched/infer", content, headers)
        triton, gateway = ask(case)
        assert not unlike(triton, gateway), (shape, output)
        assert triton.status == (200 if batch < 9 and len(shape) == 2 else 400)


def test_json_and_binary_mixed() -> None:
    left = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": 64}}
    right = {"name": "INPUT1", "shape": [1, 16], "datatype": "INT32", "data": list(range(16))}
    outputs = [{"name": "OUTPUT1"}, {"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    for inputs, wanted in itertools.product(([left, right], [right, left]), (outputs, outputs[::-1])):
        text = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
        case = Case(
            "", "POST", "/v2/models/simple/infer", text + struct.pack("<16i", *range(16)), {LENGTH: str(len(text))}
        )
        triton, gateway = ask(case)
        assert not unlike(triton, gateway)
        assert triton.tail == struct.pack("<16i", *range(0, 32, 2))
