"""A sequence under way keeps its variant and version, over every way in, while the configuration moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from config.schema import Variant
from tests.support.data_plane import a_route, a_state
from tests.support.model_server import request_of
from tests.support.routed import Routed, a_split, routed
from tests.support.stream_client import Talk

Send = Callable[[Routed, int, bool, bool], Any]
LABELS = {"m": {"stable": "1"}}


def grpc_request(sequence: int, start: bool, end: bool) -> Any:
    request = request_of("m", id=str(sequence))
    request.parameters["sequence_id"].int64_param = sequence
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def unary(it: Routed, sequence: int, start: bool, end: bool) -> None:
    it.plane.stub().ModelInfer(grpc_request(sequence, start, end), timeout=5)


def stream(it: Routed, sequence: int, start: bool, end: bool) -> None:
    talk = Talk(it.plane)
    talk.say(grpc_request(sequence, start, end))
    (answer,) = talk.rest()
    assert not answer.error_message


def rest(it: Routed, sequence: int, start: bool, end: bool) -> None:
    tensor = {"name": "INPUT0", "shape": [1], "datatype": "INT32", "data": [1]}
    parameters = {"sequence_id": sequence, "sequence_start": start, "sequence_end": end}
    answer = it.plane.post("/v2/models/m/infer", {"inputs": [tensor], "parameters": parameters})
    assert answer.status == 200, answer


def generate(it: Routed, sequence: int, start: bool, end: bool) -> None:
    named = {"INPUT0": 1, "sequence_id": sequence, "sequence_start": start, "sequence_end": end}
    answer = it.plane.post("/v2/models/m/generate", named)
    assert answer.status == 200, answer


def versions(it: Routed, sequence: int) -> list[tuple[str, str]]:
    """Server and version of each request of a sequence."""
    return [
        (name, request.model_version)
        for name, server in (("a", it.a), ("b", it.b))
        for request in (*server.called("ModelInfer"), *server.called("streamed"))
        if request.parameters["sequence_id"].int64_param == sequence
    ]


ALL = pytest.mark.parametrize("send", [unary, stream, rest, generate])


@ALL
def test_a_label_moves(send: Send) -> None:
    with routed(a_route("m", "a", version="stable"), labels=LABELS) as it:
        send(it, 1, True, False)
        it.plane.apply(config=msgspec.structs.replace(it.plane.config, labels={"m": {"stable": "2"}}))
        send(it, 1, False, False)
        send(it, 2, True, True)
        send(it, 1, False, True)
        assert (versions(it, 1), versions(it, 2)) == ([("a", "1")] * 3, [("a", "2")])


@ALL
def test_latest_moves(send: Send) -> None:
    with routed(a_route("m", "a", version="latest"), models={"m": {"1": "READY"}}) as it:
        send(it, 1, True, False)
        it.plane.apply(states={"a": (a_state(it.a.address, {"m": {"1": "READY", "2": "READY"}}),)})
        send(it, 1, False, False)
        send(it, 2, True, True)
        assert (versions(it, 1), versions(it, 2)) == ([("a", "1")] * 2, [("a", "2")])


@ALL
def test_a_split_moves(send: Send) -> None:
    def split(left: int) -> Any:
        return a_split(left=Variant("a", weight=left), right=Variant("b", weight=100 - left))

    with routed(a_route("m", split=split(100))) as it:
        send(it, 1, True, False)
        it.plane.apply(config=msgspec.structs.replace(it.plane.config, routes=(a_route("m", split=split(0)),)))
        send(it, 1, False, False)
        send(it, 2, True, True)
        assert [{name for name, _ in versions(it, number)} for number in (1, 2)] == [{"a"}, {"b"}]


def test_a_version_that_the_configuration_names_changes_in_between() -> None:
    with routed(a_route("m", "a", version="1")) as it:
        unary(it, 1, True, False)
        it.plane.apply(config=msgspec.structs.replace(it.plane.config, routes=(a_route("m", "a", version="2"),)))
        unary(it, 1, False, True)
        unary(it, 2, True, True)
        assert (versions(it, 1), versions(it, 2)) == ([("a", "1")] * 2, [("a", "2")])
