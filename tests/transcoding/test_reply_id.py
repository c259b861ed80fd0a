"""A reply is kept without its id, and given with another: what a protobuf parser then reads is the same otherwise."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.support import hub
from transcoding.dialects import oip_grpc
from transcoding.message import InferReply
from transcoding.reply_id import Kept, with_id, without_id

pb: Any = service_pb2


def parsed(framed: bytes) -> Any:
    assert framed[0] == 0
    assert int.from_bytes(framed[1:5], "big") == len(framed) - 5
    return pb.ModelInferResponse.FromString(framed[5:])


@given(hub.replies(), st.text(max_size=300))
def test_only_the_id_changes(reply: InferReply, identifier: str) -> None:
    message = b"".join(oip_grpc.encode_reply(reply))
    kept = without_id(message)
    assert kept is not None
    assert kept.version == reply.version
    expected = pb.ModelInferResponse.FromString(message)
    expected.id = ""
    assert parsed(kept.framed) == expected
    expected.id = identifier
    assert parsed(with_id(kept.framed, identifier)) == expected
    assert without_id(memoryview(with_id(kept.framed, identifier))[5:]) == kept


def test_without_an_id_it_is_the_very_same() -> None:
    kept = without_id(b"".join(oip_grpc.encode_reply(InferReply("m", "3"))))
    assert kept == Kept(b"\0\0\0\0\x06\x0a\x01m\x12\x013", "3")
    assert with_id(kept.framed, "") is kept.framed


@given(st.binary(max_size=60))
def test_any_bytes_are_kept_whole_or_not_at_all(data: bytes) -> None:
    kept = without_id(data)
    assert kept is None or len(kept.framed) - 5 <= len(data)


def test_what_is_cut_off_is_not_kept() -> None:
    message = b"".join(oip_grpc.encode_reply(InferReply("m", "3", "an id")))
    assert without_id(message[:-1]) is None
