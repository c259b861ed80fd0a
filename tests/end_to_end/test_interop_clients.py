"""curl, nghttp and h2load as clients of a real gateway before a real Triton."""

from __future__ import annotations

import gzip
import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.counters import value
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.grpc_raw import Raw
from tests.support.interop import Transfer, curl, curl_version, finish_nghttp, h2load, needs, nghttp, start_nghttp
from tests.support.interop_world import (
    BRIEF,
    GRPC_FIELDS,
    GRPC_INFER,
    INFER,
    LIVE,
    MODELS,
    World,
    grpc_body,
    identity_document,
    is_simple,
    is_simple_document,
    simple_document,
    simple_message,
    slow_document,
)
from tests.support.messages import messages
from tests.support.rest import rest
from tests.support.triton import start_triton

pytestmark = pytest.mark.triton

LARGE = 100_000  # numbers; as JSON this is more than a stream's window here and nearly so in any client


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Bodies of requests, as files."""
    place = tmp_path_factory.mktemp("bodies")
    bodies = {
        "simple": simple_document(),
        "simple.gz": gzip.compress(simple_document()),
        "large": identity_document(LARGE),
        "grpc": grpc_body(),
        "slow": slow_document(1.0),
        "nap": slow_document(0.1),
    }
    for name, body in bodies.items():
        (place / name).write_bytes(body)
    return {name: str(place / name) for name in bodies}


# curl -----------------------------------------------------------------------------------------------------------------

WAYS = {
    "prior knowledge": ("--http2-prior-knowledge", "2"),
    "ALPN": ("--http2", "2"),
    "ALPN, HTTP/1.1 only": ("--http1.1", "1.1"),
    "HTTP/1.1": ("--http1.1", "1.1"),
    "HTTP/1.1 with an offer of h2c": ("--http2", "1.1"),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, world: World) -> Any:
    """curl with one way to speak to the gateway."""
    option, version = WAYS[request.param]
    secure = "ALPN" in request.param

    def ask(paths: str | list[str], *options: str) -> list[Transfer]:
        urls = [
            (world.secure_url if secure else world.url)(path) for path in ([paths] if isinstance(paths, str) else paths)
        ]
        transfers = curl(urls, option, *(["--cacert", str(world.ca)] if secure else []), *options)
        assert {transfer.version for transfer in transfers} == {version}
        return transfers

    return ask


@needs("curl")
class TestCurl:
    def test_infer(self, way: Any, files: dict[str, str]) -> None:
        [transfer] = way(INFER, "--data-binary", f"@{files['simple']}")
        assert transfer.status == 200
        assert is_simple_document(transfer.json)

    def test_no_body(self, way: Any) -> None:
        [transfer] = way(LIVE, "--head")
        assert (transfer.status, transfer.body) == (200, b"")
        [transfer] = way(LIVE)
        assert (transfer.status, transfer.body) == (200, b"")

    def test_more_than_any_window_both_ways(self, way: Any, files: dict[str, str]) -> None:
        [transfer] = way("/v2/models/id_fp32/infer", "--data-binary", f"@{files['large']}")
        assert transfer.status == 200
        assert transfer.uploaded == Path(files["large"]).stat().st_size > 512 * 1024
        assert transfer.json["outputs"][0]["data"] == list(range(LARGE))

    def test_compression_both_ways(self, way: Any, files: dict[str, str]) -> None:
        options = ("--data-binary", f"@{files['simple.gz']}", "-H", "content-encoding: gzip", "--compressed")
        [transfer] = way(INFER, *options)
        assert "content-encoding: " in transfer.head.lower()
        assert is_simple_document(transfer.json)

    def test_errors(self, way: Any) -> None:
        [transfer] = way("/v2/models/nope/infer", "--data-binary", simple_document().decode())
        assert (transfer.status, list(transfer.json)) == (404, ["error"])
        [transfer] = way(INFER, "--data-binary", "{")
        assert (transfer.status, list(transfer.json)) == (400, ["error"])

    def test_many_transfers_on_one_connection(self, way: Any, request: pytest.FixtureRequest) -> None:
        if "[prior knowledge]" in request.node.name and curl_version() < (8, 0):
            pytest.skip("curl before 8.0 cannot use a connection of prior knowledge twice (curl/curl#10634)")
        transfers = way([f"/v2/models/simple?number={number}" for number in range(50)])
        assert {transfer.status for transfer in transfers} == {200}
        assert {transfer.json["name"] for transfer in transfers} == {"simple"}
        assert sum(transfer.connections for transfer in transfers) == 1


@needs("curl")
def test_curl_with_parallel_transfers(world: World, files: dict[str, str]) -> None:
    urls = [world.secure_url(f"{INFER}?number={number}") for number in range(60)]
    options = ("--parallel", "--parallel-max", "60", "--http2", "--cacert", str(world.ca))
    transfers = curl(urls, *options, "--data-binary", f"@{files['simple']}")
    assert all(is_simple_document(transfer.json) for transfer in transfers)
    assert {transfer.version for transfer in transfers} == {"2"}
    assert sum(transfer.connections for transfer in transfers) == 1


@needs("curl")
def test_curl_is_sent_away_now_and_then_and_loses_nothing(world: World) -> None:
    urls = [f"http://{world.brief}/v2/models/simple?number={number}" for number in range(4 * BRIEF)]
    transfers = curl(urls, "--http1.1")
    assert {transfer.json["name"] for transfer in transfers} == {"simple"}
    assert sum(transfer.connections for transfer in transfers) == 4


@needs("curl")
def test_trailers_are_of_grpc_alone(world: World, files: dict[str, str]) -> None:
    """What curl writes of a response's heads is one block for each, trailers being a second."""
    fields = (*GRPC_FIELDS, "--data-binary", f"@{files['grpc']}", "--http2-prior-knowledge")
    [transfer] = curl(world.url(GRPC_INFER), *fields)
    head, trailers = transfer.head.split("\r\n\r\n")
    assert "grpc-status" not in head
    assert trailers == "grpc-status: 0\r\n"
    assert is_simple(messages.ModelInferResponse.FromString(transfer.body[5:]))
    [transfer] = curl(world.url(INFER), "--data-binary", f"@{files['simple']}", "--http2-prior-knowledge")
    head, trailers = transfer.head.split("\r\n\r\n")
    assert "grpc" not in head
    assert not trailers


@needs("curl")
def test_an_event_stream_over_http2(world: World) -> None:
    body = json.dumps({"IN": [1, 2, 3], "DELAY": [0, 0, 0], "WAIT": 0})
    url = world.url("/v2/models/repeat_int32/generate_stream")
    [transfer] = curl(url, "--http2-prior-knowledge", "--no-buffer", "-d", body)
    events = [json.loads(line.removeprefix(b"data: ")) for line in transfer.body.split(b"\n\n")[:-1]]
    assert [event["OUT"] for event in events] == [1, 2, 3]


# nghttp ---------------------------------------------------------------------------------------------------------------

ACK, PADDED = 0x1, 0x8


@needs("nghttp")
class TestNghttp:
    def test_settings_are_acknowledged_both_ways(self, world: World, files: dict[str, str]) -> None:
        talk = nghttp(world.url("/v2/models/slow/infer"), "-d", files["nap"])  # answered at once, nghttp just leaves
        assert list(talk.statuses.values()) == [200]
        assert [frame.flags & ACK for frame in talk.received("SETTINGS")] == [0, ACK]
        assert talk.frames[0].kind == "SETTINGS"
        assert next(frame for frame in talk.frames if frame.direction == "recv").kind == "SETTINGS"
        assert [frame.flags for frame in talk.sent("SETTINGS")] == [0, ACK]

    def test_padding_and_long_heads(self, world: World, files: dict[str, str]) -> None:
        talk = nghttp(world.url(INFER), "--continuation", "--padding=200", "-d", files["simple"])
        assert list(talk.statuses.values()) == [200]
        assert talk.sent("HEADERS")[0].length > 16_384, "one block, in several frames on the wire"
        assert any(frame.flags & PADDED for frame in talk.sent("DATA"))

    def test_padded_uploads_of_many_windows(self, world: World, files: dict[str, str]) -> None:
        talk = nghttp(world.url("/v2/models/id_fp32/infer"), "--padding=255", "-d", files["large"], "-m", "5")
        assert list(talk.statuses.values()) == [200] * 5
        sent = sum(frame.length for frame in talk.sent("DATA"))
        assert sent > 5 * Path(files["large"]).stat().st_size > 2**20
        assert sum(frame.stream == 0 for frame in talk.received("WINDOW_UPDATE")) > 1
        assert len(set(talk.bodies().values())) == 1

    @pytest.mark.parametrize("bits", ["4", "10", "30"])
    def test_windows(self, world: World, files: dict[str, str], bits: str) -> None:
        talk = nghttp(world.url(INFER), "-w", bits, "-W", "16", "-d", files["simple"], "-m", "20", "--no-dep")
        assert list(talk.statuses.values()) == [200] * 20
        assert max(frame.length for frame in talk.received("DATA")) <= 2 ** int(bits) - 1
        assert len(talk.bodies()) == 20

    @pytest.mark.parametrize("sizes", [["0"], ["1"], ["4096", "0"], ["0", "4096"], ["65536"]])
    def test_header_tables(self, world: World, sizes: list[str]) -> None:
        options = [f"--header-table-size={size}" for size in sizes]
        talk = nghttp(world.url("/v2/models/simple"), *options, "--encoder-header-table-size=65536", "-m", "5")
        assert list(talk.statuses.values()) == [200] * 5

    def test_trailers_of_a_request(self, world: World, files: dict[str, str]) -> None:
        talk = nghttp(world.url(INFER), "-d", files["simple"], "--trailer", "checksum: 1", "--no-content-length")
        assert list(talk.statuses.values()) == [200]
        assert len(talk.sent("HEADERS")) == 2

    def test_expect_continue(self, world: World, files: dict[str, str]) -> None:
        talk = nghttp(world.url(INFER), "-d", files["simple"], "--expect-continue")
        assert len(talk.received("HEADERS")) == 2, "100, then 200"
        assert list(talk.statuses.values()) == [200]
        first = talk.frames.index(talk.received("HEADERS")[0])
        assert first < talk.frames.index(talk.sent("DATA")[0])

    def test_goodbye(self, files: dict[str, str]) -> None:
        """RFC 9113 §6.8: a GOAWAY that refuses nothing, a PING, then the GOAWAY that names the last stream."""
        with Gateway(
            [start_triton(MODELS).grpc_address], settings={"drain": {"delay": 0.0, "timeout": 10.0}}
        ) as gateway:
            process = start_nghttp(f"http://{gateway.address}/v2/models/slow/infer", "-d", files["slow"])
            until(lambda: value(gateway, "penstock_inflight") == 1)
            gateway.process.send_signal(signal.SIGTERM)
            talk = finish_nghttp(process)
            assert gateway.process.wait(10) == 0
        [status] = talk.statuses.items()
        assert status[1] == 200
        first, last = talk.received("GOAWAY")
        assert f"last_stream_id={2**31 - 1}, error_code=NO_ERROR" in first.text
        assert f"last_stream_id={status[0]}, error_code=NO_ERROR" in last.text
        assert [frame.flags & ACK for frame in (*talk.received("PING"), *talk.sent("PING"))] == [0, ACK]


# h2load ---------------------------------------------------------------------------------------------------------------

SHAPES = {
    "one stream each": ("-c8", "-m1"),
    "many streams": ("-c4", "-m100"),
    "more streams than are allowed": ("-c2", "-m300"),
    "no header table": ("-c2", "-m20", "--header-table-size=0", "--encoder-header-table-size=0"),
    "a small header table": ("-c2", "-m20", "--header-table-size=64", "--encoder-header-table-size=64"),
    "small windows": ("-c2", "-m20", "-w6", "-W16"),
    "large frames": ("-c2", "-m20", "-f1M"),
}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return SHAPES[request.param]


@needs("h2load")
class TestH2load:
    def test_get(self, world: World, shape: tuple[str, ...]) -> None:
        size = len(rest(world.address, "GET", "/v2/models/simple").body)
        h2load(world.url("/v2/models/simple"), 600, size, *shape)

    def test_infer(self, world: World, shape: tuple[str, ...]) -> None:
        body = simple_document()
        size = len(rest(world.address, "POST", INFER, body).body)
        h2load(world.url(INFER), 600, size, *shape, body=body)

    def test_grpc(self, world: World, shape: tuple[str, ...]) -> None:
        with closing(Raw(world.address)) as raw:
            [reply] = raw.unary(GRPC_INFER, simple_message().SerializeToString()).replies
        h2load(world.url(GRPC_INFER), 600, 5 + len(reply), *shape, *GRPC_FIELDS, body=grpc_body())

    def test_large_bodies_in_small_windows(self, world: World) -> None:
        body = identity_document(LARGE)
        size = len(rest(world.address, "POST", "/v2/models/id_fp32/infer", body).body)
        h2load(world.url("/v2/models/id_fp32/infer"), 10, size, "-c2", "-m5", "-w12", "-W16", body=body)

    def test_tls(self, world: World) -> None:
        size = len(rest(world.address, "POST", INFER, simple_document()).body)
        h2load(world.secure_url(INFER), 400, size, "-c4", "-m20", body=simple_document())

    def test_pipelines_of_http1(self, world: World) -> None:
        size = len(rest(world.address, "GET", "/v2/models/simple").body)
        h2load(world.url("/v2/models/simple"), 400, size, "--h1", "-c4", "-m10")
