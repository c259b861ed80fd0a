"""The bytes are those of googleapis' own messages."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory

from transcoding.rpc_status import retry_status
from transcoding.status import Code


def googles() -> tuple[Any, Any]:
    """`google.rpc.Status` and `RetryInfo`, as status.proto and error_details.proto define them."""
    file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", package="google.rpc", syntax="proto3")
    file.dependency.extend([any_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name])
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=5, label=1)
    status.field.add(name="message", number=2, type=9, label=1)
    status.field.add(name="details", number=3, type=11, label=3, type_name=".google.protobuf.Any")
    info = file.message_type.add(name="RetryInfo")
    info.field.add(name="retry_delay", number=1, type=11, label=1, type_name=".google.protobuf.Duration")
    pool = descriptor_pool.DescriptorPool()
    for each in (any_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR):
        pool.AddSerializedFile(each.serialized_pb)
    pool.Add(file)
    found = [pool.FindMessageTypeByName(f"google.rpc.{name}") for name in ("Status", "RetryInfo")]
    return tuple(message_factory.GetMessageClass(each) for each in found)  # type: ignore[return-value]


STATUS, RETRY_INFO = googles()


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.25, 1.0, 3599.9995, 1e6])
def test_it_says_when_to_come_back(seconds: float) -> None:
    status = STATUS.FromString(retry_status(Code.RESOURCE_EXHAUSTED, "a limit, ünder way", seconds))
    assert (status.code, status.message) == (8, "a limit, ünder way")
    info = RETRY_INFO()
    assert status.details[0].Unpack(info)
    told = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    assert seconds <= told + 1e-9 <= seconds + 0.0011


def test_without_a_time_there_are_no_details() -> None:
    status = STATUS.FromString(retry_status(Code.UNAVAILABLE, "", None))
    assert (status.code, status.message, len(status.details)) == (14, "", 0)
