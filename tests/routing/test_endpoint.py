"""An endpoint serves a version only while it is READY there."""

from __future__ import annotations

import pytest

from tests.support.pools import an_endpoint

MODELS = {"m": {"1": "UNAVAILABLE", "2": "READY"}, "never": {}, "loading": {"1": "LOADING"}}


@pytest.mark.parametrize(
    ("model", "version", "serves"),
    [
        ("m", "2", True),
        ("m", "1", False),
        ("m", "3", False),
        ("m", "", True),
        ("never", "", False),
        ("loading", "", False),
        ("loading", "1", False),
        ("other", "", False),
    ],
)
def test_serves(model: str, version: str, serves: bool) -> None:
    assert an_endpoint(models=MODELS).serves(model, version) is serves


def test_unknown_inventory_serves_anything() -> None:
    assert an_endpoint(models=None).serves("whatever", "7")


def test_repr_says_health_and_load() -> None:
    endpoint = an_endpoint("gpu:8001")
    endpoint.in_flight = 3
    assert repr(endpoint) == "<Endpoint gpu:8001 live, 3 in flight>"
    endpoint.live, endpoint.reason = False, "refused"
    assert repr(endpoint) == "<Endpoint gpu:8001 down: refused, 3 in flight>"
