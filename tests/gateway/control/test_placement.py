"""Where a model is loaded, what makes room for it, and what never goes."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from config.schema import Models
from gateway.control.placement import (
    CALM_SECONDS,
    LONGEST_SETTLE,
    SETTLE,
    SPREAD_IDLE,
    Busy,
    Copy,
    Host,
    Place,
    Placement,
    Resident,
    TooLarge,
)

NOW = 1000.0
KNOWN = frozenset("abcdefgh")


def host(address: str, wait: float = 0.0, **residents: Resident) -> Host:
    return Host(address, residents, KNOWN, wait)


def used(ago: float, **more: object) -> Resident:
    return Resident(used=NOW - ago, **more)  # type: ignore[arg-type]


def placement(max_loaded: int = 2, memory: int | None = None, **sizes: int) -> Placement:
    return Placement(Models(mode="on_demand", max_loaded=max_loaded, memory=memory), sizes)


def test_an_endpoint_with_room_and_little_work_comes_first() -> None:
    hosts = [host("x:1", a=used(50), b=used(50)), host("y:1", wait=0.2), host("z:1", wait=0.1)]
    assert placement().place("c", hosts, NOW) == Place("z:1")


def test_the_longest_unused_makes_room() -> None:
    hosts = [host("x:1", a=used(5), b=used(20)), host("y:1", a=used(30), b=used(1))]
    assert placement().place("c", hosts, NOW) == Place("y:1", ("a",))


def test_what_is_used_listed_moving_or_fresh_does_not_go() -> None:
    assert placement(1).place("c", [host("x:1", a=used(50, in_flight=1))], NOW) == Busy(
        "no room: every loaded model is in use"
    )
    for resident in (
        used(50, pinned=True),
        used(50, ready=False),
        used(SETTLE / 4, since=NOW - SETTLE / 2),
        used(50, since=NOW - LONGEST_SETTLE / 2),  # those who waited for it have not come yet
    ):
        assert isinstance(placement(1).place("c", [host("x:1", a=resident)], NOW), Busy)
    for resident in (used(SETTLE / 2, since=NOW - SETTLE), used(50, since=NOW - LONGEST_SETTLE)):
        assert placement(1).place("c", [host("x:1", a=resident)], NOW) == Place("x:1", ("a",))


def test_memory_counts_as_well_as_the_number() -> None:
    sizes = {"a": 40, "b": 30, "c": 50, "d": 10, "e": 200}
    choose = placement(8, memory=100, **sizes)
    full = host("x:1", a=used(9), b=used(10), d=used(11))
    assert choose.place("c", [full], NOW) == Place("x:1", ("d", "b"))
    assert choose.place("c", [full, host("y:1", b=used(1))], NOW) == Place("y:1")
    assert isinstance(choose.place("e", [full], NOW), TooLarge)
    assert choose.size("never measured") == 200  # as large as the largest
    assert placement(8, memory=100).place("a", [full], NOW) == Place("x:1")  # nothing is known of any


def test_a_popular_model_spreads_to_where_there_is_less_to_do() -> None:
    choose = placement()
    busy = host("x:1", wait=2.0, a=used(0, in_flight=3), b=used(0, in_flight=9))
    assert choose.spread([busy, host("y:1", wait=0.1)], NOW) == ("b", Place("y:1"))
    assert choose.spread([busy, host("y:1", wait=1.1)], NOW) is None
    assert choose.spread([host("x:1", wait=0.4, a=used(0, in_flight=3)), host("y:1")], NOW) is None
    assert choose.spread([host("x:1", wait=2.0, a=used(0)), host("y:1")], NOW) is None
    both = [busy, host("y:1", wait=0.1, b=used(0, in_flight=1)), host("z:1")]
    assert choose.spread(both, NOW) == ("a", Place("z:1"))  # a copy of b is not busy
    assert choose.spread([busy, host("y:1", wait=2.0, b=Resident(ready=False)), host("z:1")], NOW) == (
        "a",
        Place("z:1"),
    )


def test_a_further_copy_only_takes_the_room_of_what_is_long_unused() -> None:
    busy = host("x:1", wait=2.0, a=used(0, in_flight=3))
    other = host("y:1", c=used(SPREAD_IDLE + 1), d=used(SPREAD_IDLE - 1))
    assert placement().spread([busy, other], NOW) == ("a", Place("y:1", ("c",)))
    assert placement(1).spread([busy, host("y:1", d=used(SPREAD_IDLE - 1))], NOW) is None


def test_one_copy_too_many_goes_after_a_calm_while() -> None:
    choose = placement()
    hosts = [host("x:1", a=used(1)), host("y:1", a=used(2), b=used(0))]
    assert choose.calm(hosts, NOW) == []
    assert choose.calm(hosts, NOW + CALM_SECONDS - 1) == []
    loud = [host("x:1", wait=0.4, a=used(1)), hosts[1]]
    assert choose.calm(loud, NOW + CALM_SECONDS) == []  # begins anew
    assert choose.calm(hosts, NOW + 100) == []
    assert choose.calm(hosts, NOW + 100 + CALM_SECONDS) == [Copy("y:1", "a")]
    assert choose.calm([host("x:1", a=used(1))], NOW + 1000) == []


def test_what_turned_out_larger_makes_others_go() -> None:
    hosts = [host("x:1", a=used(5), b=used(9), c=used(7, in_flight=1)), host("y:1", a=used(1))]
    assert placement(8, memory=100, a=40, b=30, c=50).overflow(hosts, NOW) == [Copy("x:1", "b")]
    assert placement(8, memory=10, a=40, b=30, c=50).overflow(hosts, NOW) == [
        Copy("x:1", "b"),
        Copy("x:1", "a"),
        Copy("y:1", "a"),
    ]
    assert placement(8, a=40, b=30, c=50).overflow(hosts, NOW) == []


def test_what_is_measured_counts_if_it_is_more() -> None:
    choose = placement(8, memory=100, a=20, b=20, c=20)
    grown = host("x:1", a=used(5), b=used(9))._replace(taken=90)
    assert choose.place("c", [grown], NOW) == Place("x:1", ("b",))
    assert choose.overflow([grown._replace(taken=110)], NOW) == [Copy("x:1", "b")]
    assert choose.overflow([grown], NOW) == []


def test_loads_that_wait_count_before_anything_else() -> None:
    hosts = [host("x:1", a=used(90), b=used(90))._replace(queue=1), host("y:1", a=used(5), b=used(6))]
    assert placement().place("c", hosts, NOW) == Place("y:1", ("b",))


def test_what_nobody_asks_for_goes_if_it_is_to() -> None:
    hosts = [host("x:1", a=used(70), b=used(50), c=used(80, pinned=True), d=used(90))]
    assert placement().idle(hosts, NOW) == []
    choose = Placement(Models(mode="on_demand", idle_unload=60.0), {})
    assert choose.idle(hosts, NOW) == [Copy("x:1", "d"), Copy("x:1", "a")]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.one_of(st.none(), st.integers(10, 100)))
def test_no_bound_is_ever_broken_and_nothing_in_use_goes(seed: int, max_loaded: int, memory: int | None) -> None:
    chance = random.Random(seed)
    sizes = {name: chance.randint(1, 60) for name in KNOWN}
    choose = placement(max_loaded, memory, **sizes)
    loaded: dict[str, dict[str, Resident]] = {"x:1": {}, "y:1": {}}
    now = NOW
    for _ in range(40):
        now += chance.random()
        hosts = [Host(address, dict(residents), KNOWN, chance.random()) for address, residents in loaded.items()]
        model = chance.choice(sorted(KNOWN))
        hosts = [each for each in hosts if model not in each.residents]
        match choose.place(model, hosts, now):
            case Place(address, evict):
                for name in evict:
                    gone = loaded[address].pop(name)
                    assert gone.ready
                    assert not gone.in_flight
                    assert not gone.pinned
                loaded[address][model] = Resident(
                    since=now, in_flight=chance.choice([0, 0, 1]), pinned=chance.random() < 0.1
                )
            case TooLarge():
                assert memory is not None
                assert sizes[model] > memory
        for residents in loaded.values():
            assert len(residents) <= max_loaded
            assert memory is None or sum(sizes[name] for name in residents) <= memory
