"""One reply from the replies of several workers: clients of one Triton look for one entry per model version.

Each merge takes the reply messages of one gRPC method, at least one, and gives one. Merging is commutative and
associative, and merging one reply changes nothing but the order of its entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message

from transcoding.dialects.oip_messages import MessageClass, message_class
from transcoding.status import Code, Fault, GatewayError

Merge = Callable[[Sequence[bytes]], bytes]

STATES = ("", "UNKNOWN", "UNAVAILABLE", "UNLOADING", "LOADING", "READY")
"""States of a model version from the least to the most available; what one worker can serve, the pool can."""
_UINT64_MAX = 2**64 - 1
_INFERENCE = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
_RESPONSE = ("compute_infer", "compute_output", "success", "fail", "empty_response", "cancel")
_BATCH = ("compute_input", "compute_infer", "compute_output")


def merge_statistics(replies: Sequence[bytes]) -> bytes:
    """`ModelStatisticsResponse`s: one entry per (model, version), counts and nanoseconds summed, the last inference the
    latest, batch sizes, response indices and memory each by its key."""
    merged: dict[tuple[str, str], Any] = {}
    reply = message_class("ModelStatisticsResponse")
    for stats in (stats for one in _parse(reply, replies) for stats in one.model_stats):
        key = (stats.name, stats.version)
        if key not in merged:
            merged[key] = message_class("ModelStatistics")(name=stats.name, version=stats.version)
        _add_model(merged[key], stats)
    return _serialize(reply(model_stats=[merged[key] for key in sorted(merged, key=_by_version)]))


def merge_index(replies: Sequence[bytes]) -> bytes:
    """`RepositoryIndexResponse`s: one entry per (model, version) in its most available state, with a reason for it; a
    model that no worker ever loaded keeps its bare name."""
    merged: dict[tuple[str, str], tuple[int, str, str]] = {}
    reply = message_class("RepositoryIndexResponse")
    for model in (model for one in _parse(reply, replies) for model in one.models):
        key, entry = (model.name, model.version), (_rank(model.state), model.state, model.reason)
        merged[key] = max(entry, merged.get(key, entry))
    loaded = {name for name, version in merged if version}
    entries = reply()
    for name, version in sorted(merged, key=_by_version):
        if version or name not in loaded:
            _, state, reason = merged[name, version]
            entries.models.add(name=name, version=version, state=state, reason=reason)
    return _serialize(entries)


def merge_system_shared_memory(replies: Sequence[bytes]) -> bytes:
    """`SystemSharedMemoryStatusResponse`s: the regions of any of them."""
    return _merge_regions(message_class("SystemSharedMemoryStatusResponse"), replies)


def merge_cuda_shared_memory(replies: Sequence[bytes]) -> bytes:
    """`CudaSharedMemoryStatusResponse`s: the regions of any of them."""
    return _merge_regions(message_class("CudaSharedMemoryStatusResponse"), replies)


def merge_same(replies: Sequence[bytes]) -> bytes:
    """Replies to a change that all workers made, or to a question that all answer alike: any one of them."""
    return min(replies)


MERGES: dict[str, Merge] = {
    "ModelStatistics": merge_statistics,
    "RepositoryIndex": merge_index,
    "SystemSharedMemoryStatus": merge_system_shared_memory,
    "CudaSharedMemoryStatus": merge_cuda_shared_memory,
}


def merge(method: str, replies: Sequence[bytes]) -> bytes:
    """One reply of the gRPC method of this name. Raises `GatewayError` INTERNAL for a reply that does not parse."""
    return MERGES.get(method, merge_same)(replies)


def _rank(state: str) -> int:
    return STATES.index(state) if state in STATES else 0


def _by_version(key: tuple[str, str]) -> tuple[str, int, str]:
    """Names as text, versions as numbers, as Triton sorts them."""
    name, version = key
    return name, int(version) if version.isdecimal() and len(version) < 20 else 0, version


def _add_model(total: Any, one: Any) -> None:
    total.last_inference = max(total.last_inference, one.last_inference)
    total.inference_count = _sum(total.inference_count, one.inference_count)
    total.execution_count = _sum(total.execution_count, one.execution_count)
    _add_durations(total.inference_stats, one.inference_stats, _INFERENCE)
    for key in one.response_stats:
        _add_durations(total.response_stats[key], one.response_stats[key], _RESPONSE)
    _add_by_key(total.batch_stats, one.batch_stats, lambda batch: batch.batch_size, _add_batch)
    _add_by_key(total.memory_usage, one.memory_usage, lambda usage: (usage.type, usage.id), _add_memory)


def _add_durations(total: Any, one: Any, names: Iterable[str]) -> None:
    for name in names:
        into, duration = getattr(total, name), getattr(one, name)
        into.count = _sum(into.count, duration.count)
        into.ns = _sum(into.ns, duration.ns)


def _add_batch(total: Any, one: Any) -> None:
    total.batch_size = one.batch_size
    _add_durations(total, one, _BATCH)


def _add_memory(total: Any, one: Any) -> None:
    total.type, total.id = one.type, one.id
    total.byte_size = _sum(total.byte_size, one.byte_size)


def _add_by_key(total: Any, ones: Any, key: Callable[[Any], Any], add: Callable[[Any, Any], None]) -> None:
    """Add each of `ones` to the element of `total` with the same key, a new one where there is none, sorted by key."""
    for one in ones:
        same = next((into for into in total if key(into) == key(one)), None)
        add(same if same is not None else total.add(), one)
    total.sort(key=key)


def _merge_regions(reply: MessageClass, replies: Sequence[bytes]) -> bytes:
    merged = reply()
    for one in _parse(reply, replies):
        for name, region in one.regions.items():
            known = merged.regions.get(name, region)
            merged.regions[name].CopyFrom(max(known, region, key=_serialize))
    return _serialize(merged)


def _sum(one: int, other: int) -> int:
    """A sum that stays at the largest counter instead of wrapping."""
    return min(one + other, _UINT64_MAX)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _parse(reply: MessageClass, replies: Sequence[bytes]) -> list[Any]:
    try:
        return [reply.FromString(one) for one in replies]
    except DecodeError:
        text = f"a worker's {reply.DESCRIPTOR.name} is not the protobuf message that it should be"
        raise GatewayError(Code.INTERNAL, text, fault=Fault.WORKER, executed=True) from None
