"""The rows of the table keep the conventions of Prometheus."""

from __future__ import annotations

import pytest

from gateway.telemetry.families import FAMILIES, Family


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_conventions(family: Family) -> None:
    assert family.name.startswith("penstock_")
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.help.endswith(".") or family.name == "penstock_build_info"
    assert not family.help.count("\n")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_only_histograms_have_bounds_and_they_grow(family: Family) -> None:
    assert bool(family.bounds) == (family.kind == "histogram")
    assert list(family.bounds) == sorted(set(family.bounds))


def test_names_differ_without_the_suffix_of_counters() -> None:
    names = [family.name.removesuffix("_total") for family in FAMILIES.values()]
    assert len(names) == len(set(names))
