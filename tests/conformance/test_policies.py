"""Every policy, found by directory: it explains itself, and lets through what is not its business."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import msgspec
import msgspec.inspect
import pytest

import policies
from config.kinds import POLICIES
from config.node import Node
from config.routes import PolicySpec
from policies import make, registry
from routing.call import Call, Handler, Policy, Reply, link
from tests.support.policies import Counts, some_services
from tests.support.pools import OK, a_call
from transcoding.status import GatewayError, invalid

KINDS = sorted(path.stem for path in Path(policies.__path__[0]).glob("*.py") if path.stem != "__init__")


def module(kind: str) -> ModuleType:
    return importlib.import_module(f"policies.{kind}")


def a_value(kind: msgspec.inspect.Type) -> Any:
    """Something that a required field takes."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return a_value(kind.type)
    if isinstance(kind, msgspec.inspect.FloatType | msgspec.inspect.IntType):
        return kind.ge if kind.ge is not None else 1
    if isinstance(kind, msgspec.inspect.StructType):
        return required(kind)
    assert isinstance(kind, msgspec.inspect.StrType), f"teach the test to make a {kind}"
    return "p"


def required(kind: msgspec.inspect.StructType) -> dict[str, Any]:
    return {field.name: a_value(field.type) for field in kind.fields if field.required}


def options(kind: str) -> dict[str, Any]:
    described = msgspec.inspect.type_info(registry()[kind])
    assert isinstance(described, msgspec.inspect.StructType)
    return required(described)


def a_policy(kind: str) -> Policy:
    return make(PolicySpec(kind, options(kind)), some_services(Counts()))


def answer(kind: str, handler: Handler, call: Call | None = None) -> Reply:
    return asyncio.run(link([a_policy(kind)], handler)(call or a_call()))  # type: ignore[arg-type]


def test_the_registry_is_the_directory_and_the_configuration_knows_it() -> None:
    assert tuple(sorted(registry())) == tuple(KINDS) == POLICIES


@pytest.mark.parametrize("kind", KINDS)
def test_it_explains_itself(kind: str) -> None:
    assert len((module(kind).__doc__ or "").splitlines()) >= 3
    spec = module(kind).Spec
    assert issubclass(spec, Node)
    assert spec.__doc__
    hints = get_type_hints(spec, include_extras=True)
    for name in spec.__struct_fields__:
        marked = (hints[name], *get_args(hints[name]))  # an option that need not be given is a union with None
        metas = [each for one in marked for each in getattr(one, "__metadata__", ())]
        assert any(each.description for each in metas if isinstance(each, msgspec.Meta)), (
            f"{kind}: option {name} has no description"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_the_signature_of_a_policy(kind: str) -> None:
    assert list(inspect.signature(module(kind).Policy).parameters) == ["spec", "services"]
    assert inspect.iscoroutinefunction(module(kind).Policy.__call__)


@pytest.mark.parametrize("kind", KINDS)
def test_no_policy_knows_another(kind: str) -> None:
    source = inspect.getsource(module(kind))
    assert not [other for other in KINDS if f"policies.{other}" in source or f"policies import {other}" in source]


@pytest.mark.parametrize("kind", KINDS)
def test_options_survive_the_way_to_a_worker(kind: str) -> None:
    spec = msgspec.convert(options(kind), registry()[kind])
    assert msgspec.convert(msgspec.to_builtins(spec), registry()[kind]) == spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_passes_unchanged(kind: str) -> None:
    reply = Reply(OK)

    async def handler(call: Call) -> Reply:
        return reply

    assert answer(kind, handler) is reply
    assert bytes(reply.framed) == OK


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [invalid("wrong"), RuntimeError("a mistake of ours")], ids=repr)
def test_what_is_no_fault_of_an_endpoint_passes_unchanged(kind: str, error: Exception) -> None:
    calls = []

    async def handler(call: Call) -> Reply:
        calls.append(call)
        raise error

    with pytest.raises((GatewayError, RuntimeError)) as caught:
        answer(kind, handler)
    assert caught.value is error
    assert len(calls) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_cancellation_passes_and_ends_what_is_inside(kind: str) -> None:
    ended = []

    async def handler(call: Call) -> Reply:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(call)
        raise AssertionError

    async def run() -> bool:
        task = asyncio.ensure_future(link([a_policy(kind)], handler)(a_call()))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())
    assert len(ended) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_calls_at_the_same_time_do_not_mix(kind: str) -> None:
    async def handler(call: Call) -> Reply:
        await asyncio.sleep(0)
        return Reply(call.model.encode())

    async def run() -> list[Reply]:
        chain = link([a_policy(kind)], handler)
        return await asyncio.gather(*(chain(a_call(f"m{number}")) for number in range(20)))

    assert [bytes(reply.framed) for reply in asyncio.run(run())] == [b"m%d" % number for number in range(20)]
