"""Labels, and the latest version that is ready everywhere."""

from __future__ import annotations

import pytest

from routing import versions as module
from routing.endpoint import Endpoint
from routing.versions import Labelled, Latest, latest_of
from tests.support.pools import a_pool, an_endpoint
from transcoding.status import Code, GatewayError

READY, LOADING, GONE = "READY", "LOADING", "UNAVAILABLE"


def serving(*versions: str, **others: str) -> dict[str, dict[str, str]]:
    return {"m": dict.fromkeys(versions, READY) | {name.lstrip("v"): state for name, state in others.items()}}


class Fleet:
    """A pool of endpoints whose inventories change."""

    def __init__(self, *inventories: dict[str, dict[str, str]] | None) -> None:
        self.endpoints = [an_endpoint(f"e{at}:1", each) for at, each in enumerate(inventories)]
        self.pool = a_pool(self.endpoints)
        self.latest = Latest(self.pool)

    def now(self, at: int, inventory: dict[str, dict[str, str]], live: bool = True) -> str:
        """The latest version once endpoint `at` has this."""
        fresh = an_endpoint("x:1", inventory)
        self.endpoints[at].inventory = fresh.inventory
        self.endpoints[at].live = live
        self.pool.changed()
        return self.latest.of("m")


def test_a_label_is_each_models_own() -> None:
    label = Labelled("stable", {"a": {"stable": "3", "next": "4"}, "b": {"stable": "1"}, "c": {"next": "2"}})
    assert (label.of("a"), label.of("b")) == ("3", "1")
    for model in ("c", "d"):
        with pytest.raises(GatewayError, match=f"'{model}' has no version with the label 'stable'") as caught:
            label.of(model)
        assert caught.value.code is Code.NOT_FOUND


def test_the_highest_by_number() -> None:
    assert Fleet(serving("2", "10", "9")).latest.of("m") == "10"


def test_it_moves_only_when_ready_everywhere() -> None:
    fleet = Fleet(serving("1"), serving("1"))
    assert fleet.latest.of("m") == "1"
    assert fleet.now(0, serving("1", v2=LOADING)) == "1"
    assert fleet.now(0, serving("1", "2")) == "1"
    assert fleet.now(1, serving("1", v2=LOADING)) == "1"
    assert fleet.now(1, serving("1", "2")) == "2"


def test_it_moves_where_the_old_version_goes_as_the_new_one_comes() -> None:
    fleet = Fleet(serving("1"), serving("1"))
    assert fleet.latest.of("m") == "1"
    assert fleet.now(0, serving("2", v1=GONE)) == "1"
    assert fleet.now(1, serving("2", v1=GONE)) == "2"


def test_it_never_goes_back_while_somebody_serves_it() -> None:
    fleet = Fleet(serving("1", "2"), serving("1", "2"))
    assert fleet.latest.of("m") == "2"
    assert fleet.now(0, serving("1")) == "2"
    assert fleet.now(1, serving("1")) == "1"


def test_endpoints_that_are_away_or_lack_the_model_do_not_count() -> None:
    fleet = Fleet(serving("1"), serving("1"), {}, {"m": {}})
    assert fleet.latest.of("m") == "1"
    fleet.now(0, serving("1", "2"))
    assert fleet.now(1, serving("1"), live=False) == "2"
    assert fleet.now(1, serving("1"), live=True) == "2"


def test_all_away_changes_nothing() -> None:
    fleet = Fleet(serving("2"))
    assert fleet.latest.of("m") == "2"
    assert fleet.now(0, serving("1"), live=False) == "2"
    assert fleet.now(0, serving("1"), live=True) == "1"


def test_in_the_midst_of_a_roll_out_it_starts_with_the_old_version() -> None:
    assert Fleet(serving("3"), serving("3"), serving("2")).latest.of("m") == "2"


def test_nothing_is_known_yet() -> None:
    assert Fleet(None).latest.of("m") == ""
    assert Fleet().latest.of("m") == ""
    assert Fleet(serving("1")).latest.of("other") == ""


def test_each_model_has_its_own() -> None:
    fleet = Fleet({"m": {"1": READY}, "n": {"5": READY, "6": READY}})
    assert (fleet.latest.of("m"), fleet.latest.of("n")) == ("1", "6")


def test_it_is_found_once_per_change(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(serving("1"))
    looked: list[Endpoint] = []
    original = module.ready_versions

    def counted(endpoint: Endpoint, model: str) -> frozenset[str]:
        looked.append(endpoint)
        return original(endpoint, model)

    monkeypatch.setattr(module, "ready_versions", counted)
    for _ in range(5):
        fleet.latest.of("m")
        fleet.latest.of("unknown")
    assert len(looked) == 2
    fleet.pool.changed()
    fleet.latest.of("m")
    assert len(looked) == 3


def test_what_clients_ask_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FRESH", 10)
    fleet = Fleet(serving("1"))
    for number in range(100):
        fleet.latest.of(f"unknown {number}")
        assert len(fleet.latest._fresh) <= 10
    assert fleet.latest._remembered == {}


def test_a_pool_that_is_built_anew_is_followed() -> None:
    fleet = Fleet(serving("1", "2"))
    assert fleet.latest.of("m") == "2"
    other = a_pool([an_endpoint("e0:1", serving("1", "2")), an_endpoint("e1:1", serving("1"))])
    fleet.latest.follow(other)
    assert fleet.latest.of("m") == "2"


def test_versions_that_are_no_numbers_come_first() -> None:
    assert latest_of([frozenset({"odd", "1"})], "") == "1"
