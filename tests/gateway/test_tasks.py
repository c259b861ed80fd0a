"""The gateway spawns as routing does."""

from __future__ import annotations

from gateway.tasks import spawn
from routing import tasks


def test_is_the_one_of_routing() -> None:
    assert spawn is tasks.spawn
