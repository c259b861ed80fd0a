"""Every picker, found by directory, picks one of its candidates and spreads equal ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import routing.pickers
from routing.pickers import make
from tests.support.pools import a_call, an_endpoint

KINDS = sorted(path.stem for path in Path(routing.pickers.__path__[0]).glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 4, 5, 64])
def test_picks_one_of_the_candidates_and_uses_all(kind: str, count: int) -> None:
    endpoints = [an_endpoint(f"{number}:1") for number in range(count)]
    picker = make(kind)
    picked = Counter(id(picker.pick(endpoints, a_call())) for _ in range(count * 50))
    assert picked.keys() == {id(endpoint) for endpoint in endpoints}
