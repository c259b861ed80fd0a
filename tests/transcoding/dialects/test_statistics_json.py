"""Model statistics, against what a real Triton printed."""

from __future__ import annotations

import orjson
from tritonclient.grpc import service_pb2 as pb

from transcoding.dialects.oip_management import OPERATIONS

# What Triton 2.51 printed over REST for one model after 30 requests, shortened by the response and memory parts.
OBSERVED = (
    b'{"model_stats":[{"name":"id_fp32","version":"1","last_inference":1795329952467,"inference_count":30,'
    b'"execution_count":30,"inference_stats":{"success":{"count":30,"ns":42399796},"fail":{"count":0,"ns":0},'
    b'"queue":{"count":30,"ns":1259822},"compute_input":{"count":30,"ns":868778},'
    b'"compute_infer":{"count":30,"ns":35778063},"compute_output":{"count":30,"ns":4425993},'
    b'"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0}},"response_stats":{},"batch_stats":['
    b'{"batch_size":1,"compute_input":{"count":30,"ns":868778},"compute_infer":{"count":30,"ns":35778063},'
    b'"compute_output":{"count":30,"ns":4425993}}],"memory_usage":[]}]}'
)


def test_the_json_is_tritons_to_the_byte() -> None:
    reply = pb.ModelStatisticsResponse()
    stats = reply.model_stats.add(
        name="id_fp32", version="1", last_inference=1795329952467, inference_count=30, execution_count=30
    )
    durations = {"success": 42399796, "queue": 1259822, "compute_input": 868778}
    durations |= {"compute_infer": 35778063, "compute_output": 4425993}
    batch = stats.batch_stats.add(batch_size=1)
    for name, ns in durations.items():
        one = getattr(stats.inference_stats, name)
        one.count, one.ns = 30, ns
        if name.startswith("compute"):
            getattr(batch, name).CopyFrom(one)
    assert OPERATIONS["model_statistics"].render(reply.SerializeToString()) == OBSERVED


def test_responses_and_memory() -> None:
    reply = pb.ModelStatisticsResponse()
    stats = reply.model_stats.add(name="m", version="1")
    stats.response_stats["1"].success.count = 2
    stats.response_stats["0"].cancel.ns = 2**64 - 1
    stats.memory_usage.add(type="GPU", id=1, byte_size=5)
    (model,) = orjson.loads(OPERATIONS["model_statistics"].render(reply.SerializeToString()))["model_stats"]
    assert list(model["response_stats"]) == ["0", "1"]
    assert model["response_stats"]["0"]["cancel"] == {"count": 0, "ns": 2**64 - 1}
    assert list(model["response_stats"]["1"]) == [
        "compute_infer",
        "compute_output",
        "success",
        "fail",
        "empty_response",
        "cancel",
    ]
    assert model["memory_usage"] == [{"type": "GPU", "id": 1, "byte_size": 5}]
