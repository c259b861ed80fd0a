"""A short run of each HTTP/2 fuzz target; `python -m tests.fuzz.http2` runs longer ones."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.http2 import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeded_inputs(name: str) -> None:
    for seed in range(400):
        TARGETS[name](random.Random(seed))


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rng=st.randoms(use_true_random=False))
def test_inputs_that_hypothesis_steers(name: str, rng: random.Random) -> None:
    TARGETS[name](rng)
