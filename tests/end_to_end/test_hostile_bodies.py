"""Bodies and paths that want more than they bring: S10 to S14, P1, P2 and P6 of the adversarial suite."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from typing import Any

import pytest

from tests.support.gateway import start_gateway
from tests.support.hostile import MIB, SCALE, HostileGateway
from tests.support.raw_client import BODY, INFER, Answer, RawClient, get, post
from tests.support.triton import start_triton

pytestmark = pytest.mark.usefixtures("bystander")

BOMB = 100 * MIB


def ask(hostile: HostileGateway, body: bytes, *fields: str, path: str = INFER, listener: str = "patient") -> Answer:
    """The answer to a POST; it says in OIP's words what is wrong, and repeats no more than a little of it."""
    with hostile.connect(listener) as client:
        client.send_what_fits([post(body, path, *fields)])
        answer = client.answer()
    assert answer.status == 200 or answer.error
    assert answer.status == 200 or len(answer.body) < 1000
    return answer


# S10 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_s10_bombs(hostile: HostileGateway, encoding: str) -> None:
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    bomb = packer.compress(bytes(BOMB)) + packer.flush()
    with hostile.memory_within(200 * MIB):
        for _ in range(4 * SCALE):
            assert ask(hostile, bomb, f"Content-Encoding: {encoding}").status == 413


def test_s10_many_bombs_at_once_take_no_more_memory_than_some(hostile: HostileGateway) -> None:
    bomb = gzip.compress(bytes(BOMB), 9)
    with hostile.memory_within(260 * MIB), hostile.crowd(20 * SCALE) as clients:
        for client in clients:
            client.send(post(bomb, INFER, "Content-Encoding: gzip"))
        assert {client.answer().status for client in clients} == {413}


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "x-gzip", "gzip, identity", "compress", "\xe9"])
def test_s10_other_codings(hostile: HostileGateway, encoding: str) -> None:
    assert ask(hostile, gzip.compress(gzip.compress(BODY)), f"Content-Encoding: {encoding}").status == 415


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        gzip.compress(BODY, mtime=0)[:-4],
        gzip.compress(BODY, mtime=0) + b"x",
        gzip.compress(b"", mtime=0) * 10_000,
        gzip.compress(gzip.compress(BODY, mtime=0), mtime=0),
        b"\x1f\x8b",
        b"",
    ],
    ids=["not gzip", "cut off", "more behind it", "many members", "nested", "half a head", "empty"],
)
def test_s10_broken_gzip(hostile: HostileGateway, body: bytes) -> None:
    assert ask(hostile, body, "Content-Encoding: gzip").status == 400


def test_s10_inflated_bytes_count_as_held(hostile: HostileGateway) -> None:
    """Three bodies of 100 KB fit nowhere together, however small they came."""
    document = json.loads(BODY)
    document["parameters"] = {"padding": " " * 100_000}
    packed = gzip.compress(json.dumps(document).encode())
    hostile.backend.release.clear()
    with hostile.crowd(6, "small") as clients:
        for client in clients:
            client.send(post(packed, "/v2/models/slow/infer", "Content-Encoding: gzip"))
        for client in clients[2:]:
            client.socket.settimeout(5)
        statuses = []
        for client in clients:
            try:
                client.socket.settimeout(1)
                statuses.append(client.answer().status)
            except TimeoutError:
                continue
        assert statuses == [503] * 4
        hostile.backend.release.set()


# S11 ----------------------------------------------------------------------------------------------------------------


def inputs(**more: Any) -> bytes:
    """A request with these members of its one input changed."""
    return json.dumps({"inputs": [{"name": "IN", "datatype": "INT32", "shape": [2], "data": [1, 2], **more}]}).encode()


S11: dict[str, bytes] = {
    "open brackets": b"[" * 100_000,
    "open brackets in data": b'{"inputs":[{"name":"IN","datatype":"INT32","shape":[1],"data":' + b"[" * 100_000,
    "nested data": b'{"inputs":[{"name":"IN","datatype":"INT32","shape":[1],"data":'
    + b"[" * 100_000
    + b"1"
    + b"]" * 100_000
    + b"}]}",
    "nested parameters": b'{"parameters":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "4 MB of empty objects": b"[" + b"{}," * 1_300_000 + b"{}]",
    "4 MB of empty inputs": b'{"inputs":[' + b"{}," * 1_300_000 + b"{}]}",
    "4 MB of empty lists in data": b'{"inputs":[{"name":"IN","datatype":"INT32","shape":[1],"data":['
    + b"[]," * 1_300_000
    + b"[]]}]}",
    "200,000 keys": json.dumps({f"key{index}": index for index in range(200_000)}).encode(),
    "200,000 parameters": b'{"inputs":[],"parameters":%b}' % json.dumps({f"k{i}": i for i in range(200_000)}).encode(),
    "an integer of 10,000 digits": inputs(data=[1, 2]).replace(b"[1, 2]", b"[1, " + b"9" * 10_000 + b"]"),
    "a shape of 10,000 digits": inputs().replace(b'"shape": [2]', b'"shape": [' + b"9" * 10_000 + b"]"),
    "a number that is not finite": inputs().replace(b"[1, 2]", b"[1, 1e999]"),
    "NaN": inputs().replace(b"[1, 2]", b"[1, NaN]"),
    "a lone surrogate": b'{"id":"\\ud800","inputs":[]}',
    "a string that does not end": b'{"id":"' + b"a" * MIB,
    "NUL": b'{"id":"\0"}',
    "not UTF-8": b'{"id":"\xff\xfe"}',
    "nothing": b"",
    "blanks": b" " * MIB,
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "two documents": BODY + BODY,
    "comments": b"/*" + b"a" * MIB,
}


@pytest.mark.parametrize("case", S11)
def test_s11_json(hostile: HostileGateway, case: str) -> None:
    """A client's error in bounded memory; the bystander is what bounds the time that the event loop is held."""
    body = S11[case]
    with hostile.memory_within(max(8 * MIB, 20 * len(body))):
        assert ask(hostile, body).status in (400, 413)


# S12 ----------------------------------------------------------------------------------------------------------------


def binary(head: dict[str, Any], tail: bytes, length: int | str | None = None) -> tuple[bytes, str]:
    text = json.dumps(head).encode()
    return text + tail, f"Inference-Header-Content-Length: {len(text) if length is None else length}"


def tensor(size: Any, **more: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [2], "parameters": parameters, **more}]}


def strings(size: int, count: int) -> dict[str, Any]:
    """A tensor for `id_string` of `tests/support/model_repository.py`."""
    return tensor(size, name="INPUT0", datatype="BYTES", shape=[count])


S12: dict[str, tuple[bytes, str]] = {
    "head longer than the body": binary(tensor(8), bytes(8), 10_000),
    "head of 2^63": binary(tensor(8), bytes(8), 2**63),
    "head of -1": binary(tensor(8), bytes(8), -1),
    "head of no number": binary(tensor(8), bytes(8), "0x10"),
    "head in the middle of the JSON": binary(tensor(8), bytes(8), 10),
    "more bytes than there are": binary(tensor(1000), bytes(8)),
    "fewer bytes than there are": binary(tensor(4), bytes(8)),
    "bytes left over": binary(tensor(8), bytes(16)),
    "size of -1": binary(tensor(-1), bytes(8)),
    "size of 2^64": binary(tensor(2**64), bytes(8)),
    "size that is no number": binary(tensor("8"), bytes(8)),
    "shape that overflows": binary(tensor(8, shape=[2**32, 2**32]), bytes(8)),
    "shape of 2^63": binary(tensor(8, shape=[2**63]), bytes(8)),
    "shape of -1": binary(tensor(8, shape=[-1]), bytes(8)),
    "shape that wraps to 2": binary(tensor(8, shape=[2**63, 2, 2]), bytes(8)),
    "rank 10,000": binary(tensor(8, shape=[1] * 10_000), bytes(8)),
    "unknown datatype": binary(tensor(8, datatype="INT3"), bytes(8)),
    "data twice": binary(tensor(8, data=[1, 2]), bytes(8)),
}


# What only the tensors' own bytes tell is left to Triton, as on the gRPC side, where they are not even looked at.
# Each with what Triton says of it.
AT_TRITON: dict[str, tuple[tuple[bytes, str], str]] = {
    "another shape": (binary(tensor(8, name="INPUT0", shape=[1000]), bytes(8)), "Expected 4000, got 8"),
    "string longer than the bytes": (
        binary(strings(8, 1), struct.pack("<I", 2**32 - 1) + bytes(4)),
        "expecting string of length 4294967295 but only 4 bytes available",
    ),
    "strings fewer than the shape": (binary(strings(8, 1_000_000), bytes(8)), "expected 1000000 string elements"),
    "strings more than the shape": (binary(strings(8, 1), bytes(8)), "expecting 1"),
    "1,000,000 empty strings, one said": (binary(strings(4_000_000, 1), bytes(4_000_000)), "expecting 1"),
}


@pytest.mark.parametrize("case", S12)
def test_s12_binary_tensors(hostile: HostileGateway, case: str) -> None:
    body, field = S12[case]
    executed = hostile.backend.requests["big"]
    with hostile.memory_within(max(8 * MIB, 20 * len(body))):
        assert ask(hostile, body, field, path="/v2/models/big/infer").status == 400
    assert hostile.backend.requests["big"] == executed


@pytest.mark.triton
@pytest.mark.parametrize("case", AT_TRITON)
def test_s12_contents_of_tensors(case: str) -> None:
    """A real Triton refuses them, whatever way they come."""
    triton = start_triton(["id_int32", "id_string"])
    gateway = start_gateway([triton.grpc_address])
    path = f"/v2/models/{'id_int32' if case == 'another shape' else 'id_string'}/infer"
    (body, field), words = AT_TRITON[case]
    with RawClient(gateway.address) as client:
        right, its_field = binary(strings(8, 1), struct.pack("<I", 4) + b"text")
        assert client.ask(post(right, "/v2/models/id_string/infer", its_field)).status == 200
        answer = client.ask(post(body, path, field))
        assert (answer.status, words in answer.error) == (400, True), answer
        assert client.ask(get()).status == 200


def test_s12_two_heads(hostile: HostileGateway) -> None:
    body, field = binary(tensor(8), bytes(8))
    assert ask(hostile, body, field, field).status == 400


# P1, P2, P6 ---------------------------------------------------------------------------------------------------------

NAMES = {
    "parent": "..",
    "this": ".",
    "encoded parent": "%2e%2e",
    "encoded slash": "a%2fversions%2f9",
    "encoded backslash": "a%5cb",
    "backslash": "a\\b",
    "encoded NUL": "a%00b",
    "encoded line end": "a%0d%0aX:%20y",
    "encoded twice": "a%252fb",
    "path parameter": "echo;x=1",
    "empty": "",
    "10,000 characters": "a" * 7000,
    "blank": "%20echo",
    "trailing dot": "echo.",
    "upper case": "ECHO",
}


@pytest.mark.parametrize("action", ["infer", "generate", "ready", "config", "stats", ""])
@pytest.mark.parametrize("name", NAMES)
def test_p1_names_that_no_model_has(hostile: HostileGateway, name: str, action: str) -> None:
    """Never decoded, never a path: what is no name is a client's error, and another name is another model."""
    before = sum(hostile.backend.requests[model] for model in ("slow", "big", "stream"))
    path = f"/v2/models/{NAMES[name]}" + (f"/{action}" if action else "")
    with hostile.connect() as client:
        method = post(BODY, path) if action in ("infer", "generate") else get(path)
        answer = client.ask(method)
        assert answer.status in (400, 404, 405), answer
    assert sum(hostile.backend.requests[model] for model in ("slow", "big", "stream")) == before


@pytest.mark.parametrize(
    "path",
    [
        "/../v2",
        "//v2",
        "/v2//models/echo",
        "/v2/models//echo",
        "/v2/models/echo/",
        "/v2/models/echo/../big",
        "/v2/./models/echo",
        "/V2/models/echo",
        "/v2/models/echo/versions/1/2",
        "/v2%2fmodels%2fecho",
    ],
)
def test_p1_paths_are_taken_literally(hostile: HostileGateway, path: str) -> None:
    with hostile.connect() as client:
        assert client.ask(get(path)).status in (400, 404, 405)


def test_p1_bytes_that_are_no_utf_8(hostile: HostileGateway) -> None:
    """Overlong and broken forms; a name that is composed otherwise is another name."""
    for raw in (b"\xc0\xaf", b"\xff", b"\xed\xa0\x80", "\u00e9cho".encode(), "e\u0301cho".encode()):
        with hostile.connect() as client:
            client.send(b"GET /v2/models/" + raw + b" HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert client.answer().status in (400, 404)


@pytest.mark.parametrize(
    "version", ["0", "-1", "01", "1e3", str(2**63), str(2**64), "latest", "9" * 1000, "%31", "1;2"]
)
def test_p2_versions(hostile: HostileGateway, version: str) -> None:
    for path in (f"/v2/models/echo/versions/{version}/infer", f"/v2/models/echo/versions/{version}"):
        with hostile.connect() as client:
            answer = client.ask(post(BODY, path) if path.endswith("infer") else get(path))
            assert answer.status in (400, 404), answer


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/echo/load",
        "/v2/repository/models/echo/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/cudasharedmemory/region/x/register",
        "/v2/logging",
        "/v2/trace/setting",
    ],
)
def test_p6_what_is_not_for_clients_is_not_there(hostile: HostileGateway, path: str) -> None:
    assert ask(hostile, b"{}", path=path).status == 404
