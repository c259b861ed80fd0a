"""Merging replies: commutative, associative, the identity for one reply, and right for hand-made cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.support.outcome import outcome
from transcoding.aggregate import MERGES, STATES, merge, merge_index, merge_same, merge_statistics
from transcoding.methods import BY_NAME
from transcoding.status import Fault, GatewayError

NAMES = st.sampled_from(["a", "b", "c"])
VERSIONS = st.sampled_from(["1", "2", "10"])
COUNTS = st.integers(0, 1000) | st.just(2**64 - 1)
KEYS = st.tuples(NAMES, VERSIONS)


def duration(draw: Callable[[Any], Any], into: Any) -> None:
    into.count, into.ns = draw(COUNTS), draw(COUNTS)


@st.composite
def statistics(draw: Callable[[Any], Any]) -> bytes:
    reply = pb.ModelStatisticsResponse()
    for name, version in draw(st.lists(KEYS, unique=True, max_size=3)):
        stats = reply.model_stats.add(name=name, version=version, last_inference=draw(COUNTS))
        stats.inference_count, stats.execution_count = draw(COUNTS), draw(COUNTS)
        duration(draw, stats.inference_stats.success)
        duration(draw, stats.inference_stats.cache_miss)
        for key in draw(st.sets(st.sampled_from(["0", "1"]))):
            duration(draw, stats.response_stats[key].cancel)
        for size in draw(st.sets(st.integers(1, 4))):
            duration(draw, stats.batch_stats.add(batch_size=size).compute_infer)
        for kind, index in draw(st.sets(st.tuples(st.sampled_from(["CPU", "GPU"]), st.integers(0, 1)))):
            stats.memory_usage.add(type=kind, id=index, byte_size=draw(COUNTS))
    return reply.SerializeToString()


@st.composite
def index(draw: Callable[[Any], Any]) -> bytes:
    reply = pb.RepositoryIndexResponse()
    for name, version in draw(st.lists(st.tuples(NAMES, VERSIONS | st.just("")), unique=True, max_size=4)):
        state = draw(st.sampled_from((*STATES, "NEW"))) if version else ""
        reply.models.add(name=name, version=version, state=state, reason=draw(st.sampled_from(["", "x", "y"])))
    return reply.SerializeToString()


@st.composite
def regions(draw: Callable[[Any], Any]) -> bytes:
    reply = pb.SystemSharedMemoryStatusResponse()
    for name in draw(st.sets(NAMES)):
        region = reply.RegionStatus(name=name, key=draw(NAMES), byte_size=draw(st.integers(0, 3)))
        reply.regions[name].CopyFrom(region)
    return reply.SerializeToString()


@st.composite
def cuda_regions(draw: Callable[[Any], Any]) -> bytes:
    reply = pb.CudaSharedMemoryStatusResponse()
    for name in draw(st.sets(NAMES)):
        reply.regions[name].CopyFrom(reply.RegionStatus(name=name, device_id=draw(st.integers(0, 3))))
    return reply.SerializeToString()


CASES = [
    ("ModelStatistics", statistics()),
    ("RepositoryIndex", index()),
    ("SystemSharedMemoryStatus", regions()),
    ("CudaSharedMemoryStatus", cuda_regions()),
    ("LogSettings", st.binary(max_size=4)),
]


def test_each_method_that_needs_a_merge_has_one() -> None:
    assert {method.name for method in BY_NAME.values() if method.answer == "merge"} == set(MERGES)
    assert {name for name, _ in CASES} >= set(MERGES)


@pytest.mark.parametrize(("method", "reply"), CASES, ids=[name for name, _ in CASES])
def test_laws(method: str, reply: st.SearchStrategy[bytes]) -> None:
    @settings(max_examples=60)
    @given(reply, reply, reply)
    def laws(a: bytes, b: bytes, c: bytes) -> None:
        both = merge(method, [a, b])
        assert both == merge(method, [b, a]), "commutative"
        assert merge(method, [both, c]) == merge(method, [a, merge(method, [b, c])]), "associative"
        assert merge(method, [both, c]) == merge(method, [a, b, c]), "in any number"
        assert merge(method, [both]) == both, "one reply as it is"

    laws()


def test_statistics_are_one_entry_per_model_version() -> None:
    one, other = pb.ModelStatisticsResponse(), pb.ModelStatisticsResponse()
    for reply, last, count in ((one, 5, 2), (other, 9, 3)):
        stats = reply.model_stats.add(name="m", version="1", last_inference=last, inference_count=count)
        stats.inference_stats.queue.ns = 100 * count
        stats.batch_stats.add(batch_size=count).compute_infer.count = count
        stats.batch_stats.add(batch_size=8).compute_infer.count = 1
        stats.memory_usage.add(type="GPU", id=0, byte_size=10)
    other.model_stats.add(name="m", version="10")
    other.model_stats.add(name="m", version="2")
    merged = pb.ModelStatisticsResponse.FromString(
        merge_statistics([one.SerializeToString(), other.SerializeToString()])
    )
    assert [(stats.name, stats.version) for stats in merged.model_stats] == [("m", "1"), ("m", "2"), ("m", "10")]
    stats = merged.model_stats[0]
    assert (stats.last_inference, stats.inference_count, stats.inference_stats.queue.ns) == (9, 5, 500)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in stats.batch_stats] == [(2, 2), (3, 3), (8, 2)]
    assert [(usage.type, usage.id, usage.byte_size) for usage in stats.memory_usage] == [("GPU", 0, 20)]


def test_an_index_shows_what_the_pool_can_do() -> None:
    one, other = pb.RepositoryIndexResponse(), pb.RepositoryIndexResponse()
    one.models.add(name="m", version="1", state="UNAVAILABLE", reason="unloaded")
    one.models.add(name="n", version="1", state="UNAVAILABLE", reason="broken")
    one.models.add(name="never")
    one.models.add(name="p")
    other.models.add(name="m", version="1", state="READY")
    other.models.add(name="n", version="1", state="UNLOADING")
    other.models.add(name="never")
    other.models.add(name="p", version="2", state="LOADING")
    merged = pb.RepositoryIndexResponse.FromString(merge_index([one.SerializeToString(), other.SerializeToString()]))
    assert [(model.name, model.version, model.state, model.reason) for model in merged.models] == [
        ("m", "1", "READY", ""),
        ("n", "1", "UNLOADING", ""),
        ("never", "", "", ""),
        ("p", "2", "LOADING", ""),
    ]


def test_a_broken_reply_is_the_workers_fault() -> None:
    with pytest.raises(GatewayError) as raised:
        merge("ModelStatistics", [b"\xff"])
    assert (raised.value.http_status, raised.value.fault) == (500, Fault.WORKER)


def test_what_all_say_alike_is_said_once() -> None:
    assert merge_same([b"x", b"x"]) == b"x"


@given(st.sampled_from(sorted(MERGES)), st.lists(st.binary(max_size=30), min_size=1, max_size=3))
def test_any_bytes_give_a_reply_or_a_gateway_error(method: str, replies: Sequence[bytes]) -> None:
    result = outcome(merge, method, replies)
    assert isinstance(result, bytes) or result.fault == Fault.WORKER
