"""Protobuf messages by name."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from transcoding.dialects.oip_messages import message_class


def test_messages_by_name() -> None:
    assert message_class("ModelReadyRequest") is pb.ModelReadyRequest
    with pytest.raises(AttributeError):
        message_class("NoSuchRequest")
