"""The gateway waits between tries as the state does."""

from __future__ import annotations

from gateway.backoff import Backoff
from state import backoff


def test_is_the_one_of_state() -> None:
    assert Backoff is backoff.Backoff
