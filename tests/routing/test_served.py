"""What a pool serves now: the version that Triton would take, and the loads of it."""

from __future__ import annotations

from routing.served import Served, served
from tests.support.asking import endpoint
from tests.support.pools import a_pool, an_endpoint


def test_the_highest_ready_version_and_its_loads() -> None:
    pool = a_pool(
        [endpoint("a:1", 5, v1="READY", v9="READY", v10="READY", v11="LOADING"), endpoint("b:1", 6, v10="READY")]
    )
    assert served(pool, "m", "") == Served("10", {"a:1": 5, "b:1": 6})
    assert served(pool, "m", "9") == Served("9", {"a:1": 5})


def test_not_known_is_none() -> None:
    pool = a_pool([endpoint("a:1", v1="READY"), endpoint("b:1", v2="READY")])
    assert served(pool, "m", "") is None, "they differ"
    assert served(pool, "m", "3") is None
    assert served(pool, "n", "") is None
    pool.endpoints[1].live = False
    assert served(pool, "m", "") == Served("1", {"a:1": 1})
    unknown = an_endpoint("c:1", None)
    assert served(a_pool([endpoint(), unknown]), "m", "1") is None, "it may serve anything"
    assert served(a_pool([]), "m", "1") is None
    assert served(a_pool([endpoint("a:1", v1="UNAVAILABLE")]), "m", "") is None
