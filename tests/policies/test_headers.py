"""Headers on their way to an endpoint, and to the client."""

from __future__ import annotations

import asyncio
from typing import Any

import hpack
import msgspec
import pytest

from config.load import ConfigError, parse
from config.routes import PolicySpec
from policies import registry
from policies.headers import Policy, Spec
from routing.call import Call, Reply
from routing.identity import Identity
from routing.match import View
from tests.support.data_plane import a_listener, a_plane, a_route
from tests.support.model_server import model_server, request_of
from tests.support.policies import some_services
from tests.support.pools import OK
from transcoding.http2 import hpack as ours
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError

DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}]}


def a_call(metadata: dict[str, str] | None = None, **headers: str) -> Call:
    fields = [(name.encode(), value.encode()) for name, value in (metadata or {}).items()]
    call = Call(BY_NAME["ModelInfer"], "m", "3", (b"x",), metadata=ours.encode(fields), route="r", variant="v")
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    call.view = View("rest", "infer", "m", named)
    return call


def spec(**options: Any) -> Spec:
    return msgspec.convert(options, Spec)


def ask(call: Call, error: GatewayError | None = None, **options: Any) -> dict[str, str]:
    """The metadata that travelled."""
    seen = {}

    async def end(call: Call) -> Reply:
        fields = hpack.Decoder().decode(call.metadata, raw=True)
        seen.update({name.decode(): value.decode() for name, value in fields})
        assert len(seen) == len(fields)
        call.tell(b"x-inner", b"1")
        if error is not None:
            raise error
        return Reply(OK)

    asyncio.run(Policy(spec(**options), some_services())(call, end))  # type: ignore[arg-type]
    return seen


def test_nothing_changes_by_itself() -> None:
    call = a_call({"x-a": "1"}, x_b="2")
    assert ask(call) == {"x-a": "1"}
    assert call.told == [(b"x-inner", b"1")]


def test_set_remove_and_forward() -> None:
    call = a_call({"x-a": "1", "x-b": "2", "traceparent": "t"}, x_tenant_id="t1", x_b="3", authorization="secret")
    options = {"set": {"x-b": "mine", "x-c": "new"}, "remove": ["x-a", "x-none"], "forward": ["x-tenant-*", "x-b"]}
    assert ask(call, request=options) == {"traceparent": "t", "x-tenant-id": "t1", "x-b": "mine", "x-c": "new"}


def test_what_the_client_wrote_of_a_header_that_is_set_never_travels() -> None:
    call = a_call({"x-caller": "root"}, x_caller="root")
    assert ask(call, request={"set": {"x-caller": "{principal}"}, "forward": ["x-caller"]}) == {"x-caller": ""}


def test_values_know_the_call() -> None:
    call = a_call()
    call.caller = Identity("ann é", "acme")
    call.principal = "ann é"
    value = "{principal}/{tenant}/{route}/{variant}/{model}/{version}/{other}"
    assert ask(call, request={"set": {"x-who": value}}) == {"x-who": "ann%20%C3%A9/acme/r/v/m/3/{other}"}


def test_a_value_cannot_break_out() -> None:
    call = a_call()
    call.principal = "a\r\nx-evil: 1\0"
    assert ask(call, request={"set": {"x-who": "{principal}"}}) == {"x-who": "a%0D%0Ax-evil:%201%00"}


@pytest.mark.parametrize("error", [None, GatewayError(Code.UNAVAILABLE, "gone")])
def test_answers(error: GatewayError | None) -> None:
    call = a_call()
    call.tell(b"x-outer", b"0")
    options = {"set": {"x-served-by": "{route}"}, "remove": ["x-inner"]}
    if error is None:
        ask(call, answer=options)
    else:
        with pytest.raises(GatewayError):
            ask(call, error, answer=options)
    assert call.told == [(b"x-outer", b"0"), (b"x-served-by", b"r")]


RESERVED = ["connection", "te", "transfer-encoding", "content-length", "host", "grpc-timeout", "keep-alive", "upgrade"]


def mistakes(policy: str) -> list[str]:
    text = (
        "listen: [{address: '0.0.0.0:1'}]\npools: {p: {endpoints: ['a:1']}}\n"
        f"routes: [{{match: {{model: a}}, to: p, policies: [{policy}]}}]"
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, "g.yaml", policies=registry())
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize("name", [*RESERVED, "X-Forwarded-For", "Forwarded", "triton_grpc_error", "authorization"])
def test_what_may_not_be_sent(name: str) -> None:
    for part in (f"set: {{{name}: x}}", f"remove: [{name}]", f"forward: [{name}]"):
        (message,) = mistakes(f"{{kind: headers, request: {{{part}}}}}")
        assert "which the gateway keeps" in message


@pytest.mark.parametrize("name", RESERVED)
def test_what_may_not_be_answered(name: str) -> None:
    (message,) = mistakes(f"{{kind: headers, answer: {{set: {{{name}: x}}}}}}")
    assert "which the gateway keeps" in message


@pytest.mark.parametrize("value", ['"a\\r\\nb"', '"é"', '" a"'])
def test_values_are_visible_ascii(value: str) -> None:
    (message,) = mistakes(f"{{kind: headers, answer: {{set: {{x-a: {value}}}}}}}")
    assert message.startswith("expected visible ASCII")


def test_over_rest_and_grpc() -> None:
    options = {
        "request": {"set": {"x-set": "1"}, "forward": ["x-team"], "remove": ["x-listed"]},
        "answer": {"set": {"x-served-by": "penstock"}},
    }
    listen = [a_listener(forward_headers=("x-listed",))]
    policies = (PolicySpec("headers", msgspec.to_builtins(spec(**options))),)
    with model_server() as server, a_plane(
        server.address, listen=listen, routes=[a_route(policies=policies)]
    ) as plane:  # fmt: skip
        headers = {"x-team": "t", "x-listed": "l", "x-other": "o"}
        answer = plane.post("/v2/models/m/infer", DOCUMENT, headers)
        assert (answer.status, answer.headers["x-served-by"]) == (200, "penstock")
        _, call = plane.stub().ModelInfer.with_call(request_of(), metadata=[*headers.items()], timeout=10)
        assert ("x-served-by", "penstock") in [tuple(each) for each in call.initial_metadata()]
        for _, _, metadata in server.calls:
            assert (metadata["x-set"], metadata["x-team"]) == ("1", "t")
            assert not {"x-listed", "x-other"} & metadata.keys()
