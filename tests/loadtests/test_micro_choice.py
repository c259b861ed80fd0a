"""The bench of a choice measures what it says."""

from __future__ import annotations

import pytest

from loadtests.micro_choice import TABLE, Row, measure


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_choice_and_its_lease_take_time(row: Row) -> None:
    _, lease = measure(row, 64, 10, choices=200)
    assert lease > 0
