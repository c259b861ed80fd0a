"""Who shares answers, and what a call asks in either dialect."""

from __future__ import annotations

from itertools import product

from routing.identity import NOBODY, Identity
from routing.questions import context, decode, scope_of
from tests.support.asking import a_request, asks
from transcoding.dialects import oip_grpc
from transcoding.grpc_framing import prefix


def test_who_shares() -> None:
    ann, bob, lone = Identity("ann", "acme"), Identity("bob", "acme"), Identity("acme")
    assert scope_of("tenant", ann) == scope_of("tenant", bob) == ("tenant", "acme")
    assert scope_of("tenant", lone) == ("principal", "acme"), "a principal is no tenant of that name"
    assert scope_of("principal", ann) == ("principal", "ann")
    assert scope_of("shared", ann) == scope_of("shared", NOBODY) == ("shared", "")
    assert scope_of("tenant", NOBODY) == scope_of("principal", NOBODY) == ("nobody", "")


def test_contexts_do_not_run_into_each_other() -> None:
    parts = ("a", "b", "ab", "")
    contexts = {context(("tenant", one), *rest) for one, *rest in product(parts, parts, parts, parts)}
    assert len(contexts) == 4**4
    headers = [(), (None,), (b"",), (b"absent",), (b"=",), (None, b"x"), (b"x", None)]
    assert len({context(("shared", ""), "p", "m", "1", seen) for seen in headers}) == len(headers)


def test_a_message_is_read_whole_or_in_parts() -> None:
    request = a_request(1, 2, id="x")
    call = asks(request, over_grpc=True)
    assert decode(call) == request
    parts = oip_grpc.set_target(b"".join(oip_grpc.encode_request(request)), "other", "7")
    call.message = (prefix(sum(map(len, parts))), *parts)
    decoded = decode(call)
    assert (decoded.model, decoded.version, decoded.inputs) == ("other", "7", request.inputs)
    large = a_request(*range(5000))
    assert decode(asks(large, over_grpc=True)).inputs[0].data == large.inputs[0].data
