"""Model statistics as JSON, as `TRITONSERVER_ServerModelStatistics` (core, tritonserver.cc) prints them."""

from __future__ import annotations

from typing import Any

_INFERENCE = (
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
)
_RESPONSE = ("compute_infer", "compute_output", "success", "fail", "empty_response", "cancel")
_BATCH = ("compute_input", "compute_infer", "compute_output")


def statistics(reply: Any) -> dict[str, Any]:
    """A `ModelStatisticsResponse`. Durations are (count, nanoseconds); `last_inference` is in ms since 1970."""
    return {"model_stats": [_model(stats) for stats in reply.model_stats]}


def _model(stats: Any) -> dict[str, Any]:
    return {
        "name": stats.name,
        "version": stats.version,
        "last_inference": stats.last_inference,
        "inference_count": stats.inference_count,
        "execution_count": stats.execution_count,
        "inference_stats": _durations(stats.inference_stats, _INFERENCE),
        "response_stats": {
            key: _durations(stats.response_stats[key], _RESPONSE) for key in sorted(stats.response_stats)
        },
        "batch_stats": [{"batch_size": one.batch_size} | _durations(one, _BATCH) for one in stats.batch_stats],
        "memory_usage": [{"type": one.type, "id": one.id, "byte_size": one.byte_size} for one in stats.memory_usage],
    }


def _durations(holder: Any, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    return {name: {"count": one.count, "ns": one.ns} for name in names for one in (getattr(holder, name),)}
