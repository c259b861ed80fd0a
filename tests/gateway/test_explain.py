"""Why a request goes where it goes, from a configuration and from what control knows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from config.load import parse
from config.schema import Config
from gateway.explain import Known, Question, explain, headers_of
from gateway.world import EndpointState, ModelVersion
from policies import registry
from routing.fleet import Fleet
from routing.load_board import LoadBoard
from tests.support.clock import Clock
from tests.support.explained import FILE


@pytest.fixture(scope="module")
def config() -> Config:
    return parse(FILE, "gateway.yaml", policies=registry())


def ask(config: Config, known: Known | None = None, model: str = "resnet50", *headers: str, **more: Any) -> Any:
    return explain(config, Question(model, headers=headers_of(headers), **more), known)


def state(address: str, models: dict[str, dict[str, ModelVersion]], **more: Any) -> EndpointState:
    return msgspec.structs.replace(EndpointState(address, True, True, models), **more)


def a_known(*states: EndpointState, board: LoadBoard | None = None, **gauges: Any) -> Known:
    return Known({"a": states, "b": ()}, Fleet(board, 0, Clock()), gauges)


def test_a_rule_that_holds_decides_and_those_before_it_did_not(config: Config) -> None:
    told = ask(config, None, "resnet50", "X-Model-Version: 2")
    assert told["route"] == {"name": "vision", "position": 0, "match": ["resnet*"]}
    assert told["rules"] == [
        {"name": "teams", "when": ["header x-team is one of 'red', 'blue'", "api is grpc"], "holds": False},
        {"name": "rules[1]", "when": ["header x-model-version equals '2'"], "holds": True},
    ]
    assert told["decided_by"] == {"kind": "rule", "position": 1, "name": "rules[1]"}
    assert (told["pool"], told["variant"]) == ("a", "rules[1]")
    assert told["asks_for"] == {"model": "resnet50", "version": "2", "because": "the configuration says"}
    assert [each["kind"] for each in told["policies"]] == ["retry", "timeout"]
    assert (told["policies"][0]["name"], told["policies"][0]["options"]["attempts"]) == ("careful", 3)
    assert (told["live"], told["candidates"], told["others"], told["error"]) == (False, None, None, None)


def test_a_rule_sees_the_api_and_may_ask_for_another_model(config: Config) -> None:
    told = ask(config, None, "resnet50", "x-team: green", "X-Team: red", api="grpc")
    assert told["decided_by"]["name"] == "teams"
    assert told["asks_for"]["model"] == "other"
    assert ask(config, None, "resnet50", "x-team: red")["decided_by"]["kind"] == "bucket"


def test_a_bucket_is_the_same_for_the_same_key_and_says_so(config: Config) -> None:
    first, second = (ask(config, None, "resnet50", "x-user: ann") for _ in range(2))
    assert first == second
    by = first["decided_by"]
    assert (by["kind"], by["sticky"], by["key"], by["by_chance"]) == ("bucket", "header x-user", "ann", False)
    assert (by["of"], by["weights"]) == (10_000, {"stable": 90, "canary": 10})
    assert ask(config)["decided_by"]["by_chance"]
    canary = next(ask(config, None, "resnet50", f"x-user: {n}") for n in range(1000) if
                  ask(config, None, "resnet50", f"x-user: {n}")["variant"] == "canary")  # fmt: skip
    assert canary["asks_for"] == {"model": "resnet50", "version": None, "because": "latest"}


def test_what_the_client_would_be_told_is_the_error(config: Config) -> None:
    told = ask(config, None, "unknown")
    assert (told["route"], told["error"]) == (None, "Request for unknown model: 'unknown' is not found")
    keyed = next(told for n in range(100)
                 if (told := ask(config, None, "resnet1", f"x-user: {n}"))["variant"] == "stable")  # fmt: skip
    assert "has no version with the label 'stable'" in keyed["error"]


READY = ModelVersion("READY")
BROKEN = ModelVersion("UNAVAILABLE", "out of memory")


def test_candidates_have_their_score_and_each_other_endpoint_its_reason(config: Config) -> None:
    board = LoadBoard.create(None, 16, 2)
    busy = {"resnet50": {"1": READY, "2": ModelVersion("READY", slot=3)}}
    idle = {"resnet50": {"2": ModelVersion("READY", slot=4)}}
    for slot in (3, 4):
        board.publish(slot, service=0.01)
    board.worker(1).add(1, 0.5)
    known = a_known(
        state("busy:1", busy, slot=1, weight=2.0),
        state("idle:1", idle, slot=2),
        state("down:1", {}, live=False, reason="refused"),
        state("bare:1", {}),
        state("cold:1", {"resnet50": {}}),
        state("old:1", {"resnet50": {"1": READY}}),
        state("sick:1", {"resnet50": {"2": BROKEN}}),
        board=board,
        penstock_ejected={("a", "idle:1", "resnet50"): 2.0, ("b", "idle:1", "resnet50"): 1.0},
        penstock_upstream_connections={("a", "idle:1"): 4.0},
    )
    told = ask(config, known, "resnet50", "x-model-version: 2")
    assert (told["live"], told["error"]) == (True, None)
    first, second = told["candidates"]
    assert (first["address"], first["in_flight"], first["connections"]) == ("idle:1", 0, 4.0)
    assert first["workers_that_pass_over"] == 2
    assert first["expected_wait_seconds"] == pytest.approx(0.01)
    assert (second["address"], second["in_flight"], second["weight"]) == ("busy:1", 1, 2.0)
    assert second["expected_wait_seconds"] == pytest.approx(0.5 / 2 + 0.01)
    assert {each["address"]: each["why"] for each in told["others"]} == {
        "down:1": "not live: refused",
        "bare:1": "does not have model resnet50",
        "cold:1": "model resnet50 is in its repository, but not loaded",
        "old:1": "does not have version 2 of model resnet50",
        "sick:1": "version 2 is UNAVAILABLE: out of memory",
    }


def test_without_a_candidate_the_error_is_that_of_the_gateway(config: Config) -> None:
    assert ask(config, a_known(), "plain")["error"] == "no endpoint of pool 'a' is live"
    told = ask(config, a_known(state("x:1", {"plain": {"1": ModelVersion("LOADING")}})), "plain")
    assert (told["error"], told["candidates"]) == ("model 'plain' is loading", [])
    assert told["others"] == [{"address": "x:1", "why": "version 1 is LOADING"}]
    assert told["timeout_seconds"] == 2.0


@pytest.mark.parametrize("line", ["x-user", ": ann", ""])
def test_what_is_no_header_is_told(line: str) -> None:
    with pytest.raises(ValueError, match="expected NAME: VALUE"):
        headers_of([line])
