"""What every test of this folder checks after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A data plane that tests share holds nothing when one of them is over."""
    plane = request.getfixturevalue("plane") if "plane" in request.fixturenames else None
    yield
    if plane is not None:
        plane.wait_idle()
