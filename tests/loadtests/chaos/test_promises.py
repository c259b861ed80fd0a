"""A promise that is broken is seen, and one that is kept is not called broken."""

from __future__ import annotations

from collections import Counter

import pytest

from loadtests.chaos import promises
from loadtests.chaos.disturbances import Event
from loadtests.chaos.promises import Growth
from tests.support.load import Request

DEATH = Event("kill worker 0", 100.0, 100.0)


def request(error: str | None = None, began: float = 10.0, ended: float = 11.0, source: str = "rest") -> Request:
    return Request(source, began, 1, ended, error)


class TestAnswers:
    def test_errors_are_allowed(self) -> None:
        errors = ["AssertionError: 503 b'gone'", "UNAVAILABLE: gone", "AssertionError: in band gone", None]
        assert not list(promises.answers([*map(request, errors)], []))

    @pytest.mark.parametrize(
        "error",
        ["AssertionError: wrong sum", "TimeoutError: ", "INTERNAL: internal error", "ConnectionError: closed"],
    )
    def test_wrong_missing_and_own_failures_are_not(self, error: str) -> None:
        (told,) = promises.answers([request(), request(error)], [])
        assert error in told

    def test_a_connection_may_break_with_its_worker(self) -> None:
        lost = [request("ConnectionError: closed", 99.0, 100.5), request("NobodyListens: refused", 101.0, 101.0)]
        assert not list(promises.answers(lost, [DEATH]))
        early, late = request("ConnectionError: closed", 98.0, 99.0), request("ConnectionError: closed", 120.0, 121.0)
        assert len(list(promises.answers([early, late], [DEATH]))) == 2


def test_when_all_is_healed_no_error_is_allowed() -> None:
    requests = [request("UNAVAILABLE: x", began=9.0), request(began=11.0), request("UNAVAILABLE: y", began=11.0)]
    (told,) = promises.calm(requests, 10.0)
    assert told.endswith("UNAVAILABLE: y")


class TestAccounts:
    def test_they_are_the_same(self) -> None:
        requests = [request(), request(), request("UNAVAILABLE: x"), request("AssertionError: 404 b''")]
        gateway = Counter({"ok": 2, "unavailable": 1, "not found": 1})
        assert not list(promises.accounts(requests, gateway, 0))

    def test_one_too_many_or_too_few_is_seen(self) -> None:
        for count in (1, 3):
            told = list(promises.accounts([request(), request()], {"ok": count}, 0))
            assert len(told) == 2
            assert not list(promises.accounts([request(), request()], {"ok": count}, 1))

    def test_another_class_is_seen(self) -> None:
        assert len(list(promises.accounts([request("UNAVAILABLE: x")], {"not found": 1}, 0))) == 2

    def test_errors_in_band(self) -> None:
        hidden = "AssertionError: in band gone"
        assert not list(promises.accounts([request(hidden, source="streams")], {"ok": 1}, 0))
        for kind in ("unavailable", "not found"):
            assert not list(promises.accounts([request(hidden, source="events")], {kind: 1}, 0))
            kept = "INTERNAL: Internal error from Core"
            assert not list(promises.accounts([request(kept, source="streams")], {kind: 1}, 0))
        assert list(promises.accounts([request(hidden, source="events")], {}, 0))

    def test_what_had_no_answer_may_be_counted_or_not(self) -> None:
        for count in (1, 2):
            assert not list(promises.accounts([request(), request("ConnectionError: x")], {"ok": count}, 0))

    def test_what_is_lost_with_a_worker(self) -> None:
        times = [(50.0, 51.0), (96.0, 97.0), (96.0, 98.0), (99.0, 101.0), (101.0, 102.0)]
        requests = [request(None, *each) for each in times]
        assert promises.lost_counts(requests, [DEATH]) == 2
        assert promises.lost_counts(requests, [Event("kill control", 100.0, 100.0)]) == 0


class TestShares:
    def test_of_two_that_are_alike(self) -> None:
        samples = [{"a": 0.0}, {"a": 100.0, "b": 100.0}, {"a": 160.0, "b": 140.0}, {"a": 161.0, "b": 141.0}]
        assert promises.largest_shares(samples) == [0.5, 0.6]
        assert not list(promises.no_herd([0.5, 0.6, 0.55]))

    @pytest.mark.parametrize("shares", [[], [0.8, 0.75, 0.8], [0.5, 0.95, 0.5, 0.95]])
    def test_too_much_for_one_is_seen(self, shares: list[float]) -> None:
        assert list(promises.no_herd(shares))


class TestGrowth:
    @staticmethod
    def of(looks: list[tuple[int, int]]) -> list[str]:
        growth = Growth()
        growth.seen["worker 0", 1] = looks
        return list(growth.check())

    def test_flat(self) -> None:
        assert not self.of([(80_000_000 + each % 3, 20 + each % 2) for each in range(12)])
        assert not self.of([(40_000_000, 10), *[(80_000_000, 20)] * 8]), "the beginning does not count"

    def test_memory(self) -> None:
        (told,) = self.of([(80_000_000 + each * 8_000_000, 20) for each in range(12)])
        assert "worker 0 (1) grows" in told

    def test_files(self) -> None:
        (told,) = self.of([(80_000_000, 20 + 5 * each) for each in range(12)])
        assert "keeps files open" in told

    def test_too_few_looks(self) -> None:
        assert not self.of([(each * 10**8, each * 100) for each in range(5)])
