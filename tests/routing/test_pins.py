"""What a split, a label or `latest` meant at START holds until END, in every worker of the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.match import View
from routing.pins import AFTER_END, Pins, place_of
from routing.pool import Pool
from routing.sequence_table import SequenceTable
from routing.sequences import LostSequence
from routing.split import Share, Split
from routing.table import Shares, Table, Variant
from tests.support.clock import Clock
from tests.support.pools import a_pool

IDLE = 60.0


class Moving:
    """A version that means something else when told."""

    def __init__(self, version: str) -> None:
        self.version = version

    def of(self, model: str) -> str:
        return self.version


class World:
    """Pins of two workers over one file, and a route with a split whose left variant follows `latest`."""

    def __init__(self, path: Path) -> None:
        self.clock, self.latest = Clock(), Moving("1")
        self.workers = [Pins(SequenceTable.open(str(path), 4096), self.clock) for _ in range(2)]
        self.pool: Pool = a_pool([])
        self.pool.sequences.idle = IDLE
        self.table = self.split(100, 0)

    def variant(self, name: str, version: str = "", model: str = "") -> Variant:
        moves = self.latest if name == "left" else None
        return Variant("r", name, self.pool, self.pool.forward, version=version, versions=moves, model=model)

    def split(self, left: int, right: int) -> Table:
        shares = Split("r", [Share("left", left), Share("right", right)], None, lambda: 0.5)
        return Table((), Shares(shares, (self.variant("left"), self.variant("right", "7", "other")), (left, right)))

    def ask(
        self, worker: int = 0, *, start: bool = False, end: bool = False, version: str = "", sequence: str = "42"
    ) -> tuple[str, str, str]:
        view = View("grpc", "infer", "m", {}, sequence=sequence)
        found = self.workers[worker].resolve("r", self.table, view, version, start, end)
        return found.variant.name, found.model, found.version


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "table")


def test_the_version_stays_while_latest_moves(world: World) -> None:
    assert world.ask(start=True) == ("left", "m", "1")
    world.latest.version = "2"
    assert [world.ask(worker) for worker in (0, 1)] == [("left", "m", "1")] * 2
    assert world.ask(sequence="43", start=True) == ("left", "m", "2")
    assert world.ask(1, end=True) == ("left", "m", "1")


def test_the_variant_stays_while_the_split_moves(world: World) -> None:
    world.ask(start=True)
    world.table = world.split(0, 100)
    assert world.ask(1) == ("left", "m", "1")
    assert world.ask(start=True, sequence="43") == ("right", "other", "7")
    world.table = world.split(100, 0)
    assert world.ask(1, sequence="43") == ("right", "other", "7")


def test_what_starts_again_is_chosen_anew_for_all_workers(world: World) -> None:
    world.ask(start=True)
    world.latest.version = "2"
    assert world.ask(1, start=True) == ("left", "m", "2")
    assert world.ask(0) == ("left", "m", "2")


def test_a_version_that_the_client_names_is_its_own_business(world: World) -> None:
    assert world.ask(start=True, version="5") == ("left", "m", "5")
    assert world.ask(version="6") == ("left", "m", "6")
    assert world.ask() == ("left", "m", "1")


def test_the_client_is_told_the_version_that_holds(world: World) -> None:
    world.ask(start=True)
    world.latest.version = "2"
    view = View("grpc", "infer", "m", {}, sequence="42")
    told = world.workers[1].resolve("r", world.table, view, "", False, False).told
    assert dict(told.fields)[b"penstock-model-version"] == b"1"


def test_it_is_forgotten_when_the_sequence_is_over_or_idle(world: World) -> None:
    world.ask(start=True)
    world.latest.version = "2"
    for _ in range(3):
        world.clock.now += IDLE + 1
        assert world.ask()[2] == "1"
    assert world.ask(end=True)[2] == "1"
    assert world.ask(1, end=True)[2] == "1"
    world.clock.now += AFTER_END + 0.1
    assert world.ask()[2] == "2"
    world.ask(start=True, sequence="43")
    world.latest.version = "3"
    world.clock.now += 2 * IDLE + 0.1
    assert world.ask(sequence="43")[2] == "3"


def test_routes_models_and_sequences_have_their_own(world: World) -> None:
    world.ask(start=True)
    world.latest.version = "2"
    pins = world.workers[0]
    for route, model, sequence in (("q", "m", "42"), ("r", "n", "42"), ("r", "m", "43")):
        view = View("grpc", "infer", model, {}, sequence=sequence)
        assert pins.resolve(route, world.table, view, "", False, False).version == "2"


def test_another_variant_takes_over_that_goes_to_the_same_place(world: World) -> None:
    world.ask(start=True)
    world.latest.version = "2"
    world.table = Table((), world.variant("renamed", "7"))
    assert world.ask(1) == ("renamed", "m", "1")


def test_a_sequence_whose_place_is_gone_is_lost_by_name_until_it_starts_again(world: World) -> None:
    world.ask(start=True)
    world.table = Table((), world.variant("right", "7", "other"))
    with pytest.raises(LostSequence, match="sequence 42 of model 'm' was lost: its route no longer goes"):
        world.ask(1)
    assert world.ask(start=True) == ("right", "other", "7")
    assert world.ask(1) == ("right", "other", "7")


def a_variant(name: str) -> Variant:
    pool = a_pool([])
    return Variant("r", name, pool, pool.forward)


@given(st.text(max_size=10), st.integers(0, 10**14).map(str))
def test_a_place_holds_the_variant_and_the_version(name: str, version: str) -> None:
    variant = a_variant(name)
    place = place_of(variant, version)
    assert 0 < place < 2**64
    assert place >> 47 == place_of(variant, "") >> 47 > 0
    assert (place & (2**47 - 1)) - 1 == int(version)


@pytest.mark.parametrize("version", ["", "stable", "9" * 30, "-1", str(2**47)])
def test_what_is_no_number_is_not_pinned(version: str) -> None:
    assert place_of(a_variant("v"), version) & (2**47 - 1) == 0
