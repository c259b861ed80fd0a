"""What policies and breakers make of failures, with real Tritons that are killed, stopped, or broken for one model."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from deploy.triton import Triton
from routing.budget import TAU
from tests.support.casualties import apart, back_in_rotation, before_tritons, crash, is_live, restart, served
from tests.support.counters import assert_nothing_held, value, values, wait_for_reports
from tests.support.gateway import Gateway
from tests.support.load import FreshRest, Load, Rest, SlowRest, SlowUnary, Unary
from tests.support.messages import infer_request, stub
from tests.support.rest import rest
from tests.support.sockets import clients_of
from tests.support.triton import own_triton

pytestmark = pytest.mark.triton

MODELS = ("simple", "slow", "slowt", "fails")
SIMPLE = (
    b'{"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": [%s]}, \
{"name": "INPUT1", "shape": [1, 16], "datatype": "INT32", "data": [%s]}]}'
    % ((b"1" + b", 1" * 15,) * 2)
)
FAILS = b'{"inputs": [{"name": "INPUT0", "shape": [1], "datatype": "INT32", "data": [%d]}]}'
# Appended to a model: it raises while there is a file `broken` in its folder.
BREAKABLE = """
import os
_working = TritonPythonModel.execute
def _execute(self, requests):
    if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
        raise RuntimeError("broken here")
    return _working(self, requests)
TritonPythonModel.execute = _execute
"""


@pytest.fixture(scope="module")
def tritons() -> Iterator[list[Triton]]:
    """Two Tritons that a test may kill, if it starts them again."""
    with own_triton(MODELS, explicit=True) as first, own_triton(MODELS, explicit=True) as second:
        yield [first, second]


def route(*policies: dict[str, Any], model: str = "*", pool: str = "tritons") -> dict[str, Any]:
    return {"name": f"route {model}", "match": {"model": model}, "to": {"pool": pool}, "policies": list(policies)}


def under_load(
    gateway: Gateway, test: Callable[[Load], Awaitable[None]], sources: Any = (Rest, FreshRest, Unary)
) -> Load:
    """Run `test` while all sources ask."""

    async def main() -> Load:
        async with asyncio.timeout(90), Load(gateway.port, sources) as load:
            await load.answers(200)
            assert load.lost == []
            await test(load)
        return load

    return asyncio.run(main())


def infer(gateway: Gateway, model: str = "simple", body: bytes = SIMPLE) -> Any:
    return rest(gateway.address, "POST", f"/v2/models/{model}/infer", body)


def test_kill_9_of_a_triton_loses_no_idempotent_request(tritons: list[Triton]) -> None:
    async def test(load: Load) -> None:
        for triton in tritons:
            channels = await asyncio.to_thread(clients_of, triton.pid, triton.grpc_port)
            crash(triton.pid, channels)
            triton.process.kill()  # the stubs of its models too
            await load.answers(200)
            await asyncio.to_thread(restart, triton)
            await back_in_rotation(gateway, triton)

    sources = (*[SlowRest] * 6, *[SlowUnary] * 6, Rest, Unary)
    policies = {"kind": "retry", "attempts": 2, "idempotent": True}
    with before_tritons(tritons, routes=[route(policies)]) as gateway:
        load = under_load(gateway, test, sources)
        assert load.lost == []
        retries = values(gateway, "penstock_retries_total")
        assert sum(retries.values()) > 0
        assert_nothing_held(gateway)
        print(f"\nkill -9 of each Triton, retried: {retries}; {load.summary()}")


@pytest.fixture
def breakable(tritons: list[Triton]) -> Iterator[Triton]:
    """One of the two, whose `simple` fails while `broken` lies beside it."""
    triton = tritons[0]
    folder = triton.repository / "simple" / "1"
    before = (folder / "model.py").read_text()
    for code in (before + BREAKABLE, None):
        (folder / "model.py").write_text(code or before)
        (folder / "broken").unlink(missing_ok=True)
        assert rest(triton.http_address, "POST", "/v2/repository/models/simple/load").status == 200
        if code is not None:
            yield triton


def test_a_model_that_fails_on_one_triton_is_served_by_the_other_until_it_works_again(
    tritons: list[Triton], breakable: Triton
) -> None:
    flag = breakable.repository / "simple" / "1" / "broken"
    label = {"endpoint": breakable.grpc_address}

    async def test(load: Load) -> None:
        before = len(load.requests)
        flag.touch()
        await apart(lambda: value(gateway, "penstock_ejected", model="simple", **label) == 1)
        while_counted = len(load.requests)
        await load.answers(300)
        lost = [request for request in load.requests[while_counted:] if request.error]
        assert len(lost) <= 4  # a probe now and then
        assert all(request.source != "slow rest" for request in load.lost), "another model was harmed"
        assert all("broken here" in (request.error or "") for request in load.lost)
        failed = sum(request.error is not None for request in load.requests[before:])
        assert failed <= 5 + 10
        assert await asyncio.to_thread(value, gateway, "penstock_ejected", model="slow") == 0
        flag.unlink()
        await apart(lambda: value(gateway, "penstock_ejected", model="simple", **label) == 0)
        healed = await asyncio.to_thread(served, gateway, breakable)
        await apart(lambda: served(gateway, breakable) > healed + 50)

    outliers = {"consecutive": 5, "base": "0.5s", "max": "1s"}
    pools = {"tritons": {"endpoints": [each.grpc_address for each in tritons], "outliers": outliers}}
    with Gateway([], workers=1, settings={"pools": pools}) as gateway:
        load = under_load(gateway, test, (*[Rest] * 3, *[Unary] * 3, *[SlowRest] * 2))
        assert value(gateway, "penstock_ejections_total", **label) >= 1
        assert_nothing_held(gateway)
        print(f"\na model broken on one of two: {load.summary()}")


def test_retries_hide_a_model_that_fails_on_one_triton(tritons: list[Triton], breakable: Triton) -> None:
    async def test(load: Load) -> None:
        (breakable.repository / "simple" / "1" / "broken").touch()
        await load.answers(300)

    routes = [route({"kind": "retry", "idempotent": True})]
    with before_tritons(tritons, pick="round_robin", routes=routes) as gateway:
        load = under_load(gateway, test)
        assert load.lost == []
        assert value(gateway, "penstock_retries_total", reason="model") >= 1


@pytest.mark.parametrize("hedged", [True, False])
def test_hedging_cuts_the_tail_when_a_triton_stands_still(tritons: list[Triton], hedged: bool) -> None:
    standstill = 1.0
    worst: list[float] = []

    async def test(load: Load) -> None:
        await load.answers(200)  # the percentile needs some
        before = len(load.requests)
        os.kill(tritons[0].pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(standstill)
        finally:
            os.kill(tritons[0].pid, signal.SIGCONT)
        await load.answers(100)
        worst.append(max(request.ended - request.began for request in load.requests[before:]))

    hedge = {"kind": "hedge", "percentile": "0.9", "budget": "100%", "idempotent": True}
    pool = {
        "endpoints": [each.grpc_address for each in tritons],
        "pick": "round_robin",
        "readiness": {"interval": "5s", "timeout": "5s"},
    }
    settings = {"pools": {"tritons": pool}, "routes": [route(*[hedge] * hedged)]}
    with Gateway([], workers=1, settings=settings) as gateway:
        load = under_load(gateway, test, (Rest, Rest, Unary, Unary))
        won = value(gateway, "penstock_hedges_total", result="won")
        print(f"\na Triton stands still for {standstill} s, hedged: {hedged}: the slowest took {worst[0]:.3f} s; {won}")
        assert load.lost == []
        assert (worst[0] < 0.6 * standstill) is hedged
        assert (won > 0) is hedged
        assert_nothing_held(gateway)


def test_what_lost_a_hedge_is_cancelled_at_its_triton(tritons: list[Triton]) -> None:
    """`slow` runs all its requests at once, so the pair ends together; a hedge that lost has its work cancelled."""
    body = b'{"inputs": [{"name": "INPUT0", "shape": [1], "datatype": "FP32", "data": [%s]}]}'

    def cancelled(triton: Triton) -> int:
        reply = rest(triton.http_address, "POST", "/v2/models/slow/infer", body % b"0")
        outputs = {output["name"]: output["data"][0] for output in reply.json["outputs"]}
        return int(outputs["CANCELLED"])

    before = sum(map(cancelled, tritons))
    hedge = {"kind": "hedge", "floor": "50ms", "budget": "100%", "idempotent": True}
    with before_tritons(tritons, workers=1, routes=[route(hedge)]) as gateway:
        for _ in range(60):
            assert infer(gateway, "slow", body % b"0").status == 200
        assert infer(gateway, "slow", body % b"0.5").status == 200
        assert_nothing_held(gateway)
    assert sum(map(cancelled, tritons)) == before + 1


def test_another_pool_stands_in_when_the_first_has_no_endpoint(tritons: list[Triton]) -> None:
    pools = {
        "gone": {"endpoints": ["127.0.0.1:1"], "readiness": {"interval": 0.2}, "connect_timeout": "0.3s"},
        "tritons": {"endpoints": [each.grpc_address for each in tritons]},
    }
    fallback = {"kind": "fallback", "to": "tritons", "name": "spare"}
    routes = [route(fallback, pool="gone")]
    with Gateway([], settings={"pools": pools, "routes": routes}) as gateway:
        answer = infer(gateway)
        assert answer.status == 200, answer
        assert answer.headers["penstock-variant"] == "spare"
        with grpc.insecure_channel(gateway.address) as channel:
            zeros = np.zeros((1, 16), np.int32)
            ask = stub(channel).ModelInfer.with_call
            _, call = ask(infer_request("simple", INPUT0=zeros, INPUT1=zeros), timeout=10)
        assert ("penstock-variant", "spare") in [tuple(field) for field in call.initial_metadata()]
        wait_for_reports(gateway)
        assert value(gateway, "penstock_fallbacks_total", route="route *", reason="unavailable") == 2
        load = under_load(gateway, lambda load: load.answers(100), (Rest, Unary))
        assert load.lost == []


def test_the_budget_holds_when_everything_fails(tritons: list[Triton]) -> None:
    requests = 400
    retry = {"kind": "retry", "attempts": 3, "idempotent": True, "min_per_second": 1}
    pool = {"endpoints": [each.grpc_address for each in tritons], "outliers": {"consecutive": 1000, "success": 0}}
    with Gateway([], settings={"pools": {"tritons": pool}, "routes": [route(retry)]}) as gateway:
        wait_for_reports(gateway)
        before = value(gateway, "penstock_upstream_requests_total")
        began = time.monotonic()
        for _ in range(requests):
            assert infer(gateway, "fails", FAILS % 2).status == 500
        seconds = time.monotonic() - began
        wait_for_reports(gateway)
        sent = value(gateway, "penstock_upstream_requests_total") - before
        print(f"\n{requests} requests that all failed were sent {sent:.0f} times in {seconds:.1f} s")
        assert requests < sent <= 1.2 * requests + seconds + TAU
        assert value(gateway, "penstock_retries_refused_total") > 0


def test_the_time_for_all_attempts_is_bounded(tritons: list[Triton]) -> None:
    body = b'{"inputs": [{"name": "INPUT0", "shape": [1], "datatype": "FP32", "data": [5]}]}'
    policies = [{"kind": "timeout", "total": "300ms"}, {"kind": "retry", "attempts": 5, "idempotent": True}]
    with before_tritons(tritons, workers=1, routes=[route(*policies)]) as gateway:
        began = time.monotonic()
        assert infer(gateway, "slow", body).status == 504
        assert time.monotonic() - began < 2
        assert_nothing_held(gateway)


def test_a_triton_that_stands_still_is_passed_over_though_its_connections_live(tritons: list[Triton]) -> None:
    """Calls with a deadline tell it sooner than the polls do here."""
    pool = {
        "endpoints": [each.grpc_address for each in tritons],
        "readiness": {"interval": "30s", "timeout": "30s"},
        "outliers": {"consecutive": 2, "base": "0.5s"},
    }
    settings = {"pools": {"tritons": pool}, "routes": [route({"kind": "timeout", "total": "1.2s"})]}
    with Gateway([], workers=1, settings=settings) as gateway:

        async def test(load: Load) -> None:
            os.kill(tritons[0].pid, signal.SIGSTOP)
            try:
                label = {"endpoint": tritons[0].grpc_address, "model": "simple"}
                await apart(lambda: value(gateway, "penstock_ejected", **label) == 1)
                held = len(load.lost)
                await load.answers(100)
                assert len(load.lost) <= held + 8  # what was under way, and a probe now and then
            finally:
                os.kill(tritons[0].pid, signal.SIGCONT)
            assert is_live(gateway, tritons[0])
            await back_in_rotation(gateway, tritons[0])

        load = under_load(gateway, test, [Rest] * 6)
        print(f"\na Triton stands still, with deadlines: {load.summary()}")
        assert_nothing_held(gateway)
