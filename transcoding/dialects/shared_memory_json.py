"""The shared memory extensions over REST: regions of system memory by key, of CUDA memory by a base64 handle."""

from __future__ import annotations

from typing import Any

from transcoding.dialects.json_fields import parse
from transcoding.dialects.oip_paths import Match
from transcoding.message import Content
from transcoding.status import invalid

CUDA_HANDLE_BYTES = 64
"""Size of a `cudaIpcMemHandle_t` (CUDA runtime API, CUDA_IPC_HANDLE_SIZE)."""
_UINT64_MAX = 2**64 - 1
_INT64_MAX = 2**63 - 1


def fill_region(request: Any, match: Match, body: Content) -> None:
    """Fill a request that names a region, or none for all of them."""
    request.name = match.region


def fill_register_system(request: Any, match: Match, body: Content) -> None:
    """Fill a `SystemSharedMemoryRegisterRequest` from `{"key", "offset" (default 0), "byte_size"}`."""
    _need_region(match, "system")
    fields = parse(body)
    request.name = match.region
    request.key = fields.text("key")
    request.offset = fields.natural("offset", _UINT64_MAX) if "offset" in fields else 0
    request.byte_size = fields.natural("byte_size", _UINT64_MAX)


def fill_register_cuda(request: Any, match: Match, body: Content) -> None:
    """Fill a `CudaSharedMemoryRegisterRequest` from `{"raw_handle": {"b64"}, "device_id", "byte_size"}`."""
    _need_region(match, "cuda")
    fields = parse(body)
    handle = fields.fields("raw_handle").base64("b64")
    if len(handle) != CUDA_HANDLE_BYTES:
        raise invalid(f"raw_handle.b64: expected {CUDA_HANDLE_BYTES} bytes, got {len(handle)}")
    request.name = match.region
    request.raw_handle = handle
    request.device_id = fields.natural("device_id", _INT64_MAX)
    request.byte_size = fields.natural("byte_size", _UINT64_MAX)


def _need_region(match: Match, memory: str) -> None:
    if not match.region:
        raise invalid(f"'region name' is necessary to register {memory} shared memory region")


def system_status(reply: Any) -> list[dict[str, Any]]:
    """A `SystemSharedMemoryStatusResponse`."""
    return _regions(reply, ("name", "key", "offset", "byte_size"))


def cuda_status(reply: Any) -> list[dict[str, Any]]:
    """A `CudaSharedMemoryStatusResponse`."""
    return _regions(reply, ("name", "device_id", "byte_size"))


def _regions(reply: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{key: getattr(reply.regions[name], key) for key in keys} for name in sorted(reply.regions)]
