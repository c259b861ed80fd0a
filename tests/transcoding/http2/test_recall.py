"""The bounded memory of decoded bytes."""

from __future__ import annotations

from transcoding.http2.recall import Recall


def test_what_is_used_survives_a_flood_of_unique_keys() -> None:
    recall: Recall[int] = Recall(entries=8, size=1 << 20)
    recall.put(b"hot", 1, 3)
    for index in range(1000):
        recall.put(b"%d" % index, index, 4)
        assert recall.get(b"hot") == 1
        assert len(recall) <= 16
    assert recall.get(b"3") is None
    assert recall.get(b"999") == 999


def test_it_is_bounded_by_bytes() -> None:
    recall: Recall[int] = Recall(entries=1000, size=100)
    for index in range(50):
        recall.put(b"%d" % index, index, 30)
    assert len(recall) <= 6


def test_what_is_larger_than_a_generation_is_not_kept() -> None:
    recall: Recall[int] = Recall(entries=8, size=10)
    recall.put(b"small", 1, 5)
    recall.put(b"large", 2, 11)
    assert (recall.get(b"small"), recall.get(b"large")) == (1, None)


def test_promote_looks_only_at_the_old_generation() -> None:
    recall: Recall[int] = Recall(entries=1, size=100)
    recall.put(b"a", 1, 1)
    assert recall.promote(b"a") is None
    recall.put(b"b", 2, 1)
    assert b"a" not in recall.young
    assert recall.promote(b"a") == 1
    assert b"a" in recall.young
