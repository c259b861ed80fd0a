"""Shared memory regions."""

from __future__ import annotations

import base64

import orjson
import pytest
from tritonclient.grpc import service_pb2 as pb

from transcoding.dialects.oip_management import OPERATIONS
from transcoding.dialects.oip_paths import Match
from transcoding.status import GatewayError

HANDLE = base64.b64encode(bytes(64)).decode()


def encode(operation: str, body: object, region: str = "r") -> bytes:
    return OPERATIONS[operation].encode(Match(operation, "shared_memory", region=region), orjson.dumps(body))


def test_register_system() -> None:
    message = encode("system_shared_memory_register", {"key": "/k", "offset": 8, "byte_size": 2**64 - 1})
    request = pb.SystemSharedMemoryRegisterRequest.FromString(message)
    assert (request.name, request.key, request.offset, request.byte_size) == ("r", "/k", 8, 2**64 - 1)
    without_offset = encode("system_shared_memory_register", {"key": "/k", "byte_size": 1})
    assert pb.SystemSharedMemoryRegisterRequest.FromString(without_offset).offset == 0


def test_register_cuda() -> None:
    message = encode("cuda_shared_memory_register", {"raw_handle": {"b64": HANDLE}, "device_id": 1, "byte_size": 9})
    request = pb.CudaSharedMemoryRegisterRequest.FromString(message)
    assert (request.name, request.raw_handle, request.device_id, request.byte_size) == ("r", bytes(64), 1, 9)


@pytest.mark.parametrize(
    ("operation", "body", "text"),
    [
        ("system_shared_memory_register", {"byte_size": 1}, "key: missing"),
        ("system_shared_memory_register", {"key": "/k"}, "byte_size: missing"),
        (
            "system_shared_memory_register",
            {"key": "/k", "byte_size": -1},
            "byte_size: expected an integer from 0 to 18446744073709551615, got -1",
        ),
        ("system_shared_memory_register", {"key": 3, "byte_size": 1}, "key: expected a string, got 3"),
        ("cuda_shared_memory_register", {"byte_size": 1}, "raw_handle: missing"),
        ("cuda_shared_memory_register", {"raw_handle": "x"}, "raw_handle: expected an object, got a string"),
        ("cuda_shared_memory_register", {"raw_handle": {"b64": "AA=="}}, "raw_handle.b64: expected 64 bytes, got 1"),
        ("cuda_shared_memory_register", {"raw_handle": {"b64": "?"}}, "raw_handle.b64: not valid base64"),
    ],
)
def test_mistakes_are_named(operation: str, body: object, text: str) -> None:
    with pytest.raises(GatewayError) as raised:
        encode(operation, body)
    assert (raised.value.http_status, raised.value.message) == (400, text)


@pytest.mark.parametrize("memory", ["system", "cuda"])
def test_a_region_needs_a_name_to_be_registered_only(memory: str) -> None:
    with pytest.raises(GatewayError, match=f"'region name' is necessary to register {memory} shared memory region"):
        encode(f"{memory}_shared_memory_register", {}, region="")
    assert encode(f"{memory}_shared_memory_unregister", {}, region="") == b""
    assert OPERATIONS[f"{memory}_shared_memory_unregister"].render(b"") == b""


def test_status() -> None:
    system = pb.SystemSharedMemoryStatusResponse()
    system.regions["b"].CopyFrom(system.RegionStatus(name="b", key="/b", offset=0, byte_size=2))
    system.regions["a"].CopyFrom(system.RegionStatus(name="a", key="/a", offset=1, byte_size=2**64 - 1))
    assert OPERATIONS["system_shared_memory_status"].render(system.SerializeToString()) == (
        b'[{"name":"a","key":"/a","offset":1,"byte_size":18446744073709551615},'
        b'{"name":"b","key":"/b","offset":0,"byte_size":2}]'
    )
    cuda = pb.CudaSharedMemoryStatusResponse()
    cuda.regions["c"].CopyFrom(cuda.RegionStatus(name="c", device_id=0, byte_size=4))
    assert OPERATIONS["cuda_shared_memory_status"].render(cuda.SerializeToString()) == (
        b'[{"name":"c","device_id":0,"byte_size":4}]'
    )
    assert OPERATIONS["cuda_shared_memory_status"].render(b"") == b"[]"
