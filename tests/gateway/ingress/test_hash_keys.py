"""The same key goes to the same endpoint, over each protocol, from stream to stream and from worker to worker."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from config.pools import Pick
from tests.support.data_plane import Models, PlaneThread, a_config, a_state, running
from tests.support.h2_requests import H2Client
from tests.support.model_server import Model, ModelServer, model_server, request_of

HAS: Models = {"m": {"1": "READY"}, "many": {"1": "READY"}}
KEYS = range(24)
SERVERS = 3
WORKERS = 2


@dataclass
class Ring:
    """Workers over the same servers, whose pool hashes and takes any load for it."""

    workers: list[PlaneThread]
    servers: list[ModelServer]

    def home(self, ask: Callable[[], object]) -> int:
        """The position of the server that got what this sends."""
        before = self._asked()
        ask()
        got = [now - count for now, count in zip(self._asked(), before, strict=True)]
        assert sum(map(bool, got)) == 1
        return got.index(max(got))

    def _asked(self) -> list[int]:
        """Inferences so far at each server; what a generated request asks of the model's signature is none."""
        asks = {"ModelInfer", "ModelStreamInfer", "streamed"}
        return [sum(method in asks for method, _, _ in server.calls) for server in self.servers]


@contextmanager
def ring(by: str) -> Iterator[Ring]:
    with ExitStack() as stack:
        models = {"m": Model(), "many": Model(decoupled=True)}
        servers = [stack.enter_context(model_server(models=dict(models))) for _ in range(SERVERS)]
        config = a_config(*(server.address for server in servers), pick=Pick("hash_ring", by=by, bound=100.0))
        states = {"p": [a_state(server.address, HAS) for server in servers]}
        workers = [stack.enter_context(running(config, states)) for _ in range(WORKERS)]
        yield Ring(workers, servers)


Ask = Callable[[PlaneThread, str, int, int], object]
"""Sends a request of this user with these numbers; the last one is different each time."""


def document(number: int, turn: int) -> bytes:
    tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [number]}
    return json.dumps({"id": str(turn), "inputs": [tensor]}).encode()


def rest(plane: PlaneThread, user: str, number: int, turn: int) -> None:
    assert plane.post("/v2/models/m/infer", document(number, turn), {"x-user": user}).status == 200


def rest_over_http2(plane: PlaneThread, user: str, number: int, turn: int) -> None:
    with H2Client(plane.port()) as client:
        headers = ((b"x-user", user.encode()),)
        seen = client.response(client.request("/v2/models/m/infer", document(number, turn), headers))
        assert (b":status", b"200") in seen.headers[0]


def generate(plane: PlaneThread, user: str, number: int, turn: int) -> None:
    body = {"INPUT0": [number], "id": str(turn)}
    assert plane.post("/v2/models/m/generate", body, {"x-user": user}).status == 200


def generate_stream(plane: PlaneThread, user: str, number: int, turn: int) -> None:
    body = {"INPUT0": [number], "id": str(turn)}
    assert plane.post("/v2/models/many/generate_stream", body, {"x-user": user}).status == 200


def grpc(plane: PlaneThread, user: str, number: int, turn: int) -> None:
    plane.stub().ModelInfer(request_of(numbers=[number], id=str(turn)), metadata=(("x-user", user),), timeout=10)


def grpc_stream(plane: PlaneThread, user: str, number: int, turn: int) -> None:
    requests: list[Any] = [request_of(numbers=[number], id=f"{turn} {each}") for each in range(3)]
    answers = list(plane.stub().ModelStreamInfer(iter(requests), metadata=(("x-user", user),), timeout=10))
    assert [each.error_message for each in answers] == [""] * 3


ASKS = (rest, rest_over_http2, generate, generate_stream, grpc, grpc_stream)


@pytest.mark.parametrize("by", ["header:X-User", "body"])
def test_a_key_has_one_endpoint_over_all_protocols_and_workers(by: str) -> None:
    homes: dict[int, set[int]] = defaultdict(set)
    with ring(by) as it:
        turn = 0
        for key in KEYS:
            for ask in ASKS:
                turn += 1
                user, number = (f"user-{key}", turn) if by != "body" else (f"user-{turn}", key)
                worker = it.workers[(turn + key) % WORKERS]
                homes[key].add(it.home(partial(ask, worker, user, number, turn)))
    assert all(len(each) == 1 for each in homes.values()), homes
    assert len(set.union(*homes.values())) == SERVERS


def test_each_request_of_a_stream_goes_by_its_own_body() -> None:
    with ring("body") as it:
        homes = [it.home(partial(grpc, it.workers[0], "ann", key, 0)) for key in KEYS]
        before = [len(server.called("streamed")) for server in it.servers]
        requests = [request_of(numbers=[key], id=str(key)) for key in KEYS]
        answers = list(it.workers[0].stub().ModelStreamInfer(iter(requests), timeout=10))
        assert sorted(int(each.infer_response.id) for each in answers) == list(KEYS)
        got = [len(server.called("streamed")) for server in it.servers]
        assert [now - then for now, then in zip(got, before, strict=True)] == [homes.count(at) for at in range(SERVERS)]


def test_without_the_header_load_spreads() -> None:
    with ring("header:x-user") as it:
        plane = it.workers[0]
        homes = {it.home(lambda: plane.post("/v2/models/m/infer", document(1, 1))) for _ in range(40)}
        assert len(homes) == SERVERS
