"""What is hashed is found where it is wanted, and nothing is looked for where it is not."""

from __future__ import annotations

import pytest

from config.pools import Pick
from routing.hash_key import hash_key
from tests.support.model_server import request_of
from tests.support.pools import a_pool
from transcoding.dialects import oip_grpc


def test_a_header() -> None:
    key = hash_key("header:X-User")
    assert key is not None
    assert not key.varies
    assert key.of({b"x-user": b"ann", b"x-other": b"x"}, b"") == b"ann"
    assert key.of({}, b"") == b""


def test_a_body() -> None:
    key = hash_key("body")
    assert key is not None
    assert key.varies
    messages = [
        request_of(id=name, numbers=[number]).SerializeToString() for name, number in (("a", 1), ("b", 1), ("a", 2))
    ]
    one, same, other = (key.of({}, message) for message in messages)
    assert one == same != other
    assert key.of({}, oip_grpc.decode_request(messages[0])) == one


@pytest.mark.parametrize("wants", ["", "sequence", "principal"])
def test_what_the_call_has_is_not_looked_for(wants: str) -> None:
    assert hash_key(wants) is None


def test_a_pool_knows_what_its_picker_wants() -> None:
    assert a_pool([]).hash_key is None
    assert a_pool([], pick=Pick("hash_ring", by="body")).hash_key is not None
