"""What was used last stays, within so many bytes; held to a slow but plain model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.lru import Lru

LIMIT = 10


def test_what_was_not_used_for_longest_goes_first() -> None:
    lru: Lru[str, int] = Lru(LIMIT)
    for number, key in enumerate("abc"):
        lru.put(key, number, 3)
    assert lru.get("a") == 0
    lru.put("d", 3, 3)
    assert [lru.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert (lru.bytes, len(lru), lru.evicted) == (9, 3, 1)


def test_a_value_replaces_another_and_one_too_large_is_not_kept() -> None:
    lru: Lru[str, int] = Lru(LIMIT)
    lru.put("a", 1, 4)
    lru.put("a", 2, 6)
    assert (lru.get("a"), lru.bytes, len(lru)) == (2, 6, 1)
    lru.put("a", 3, LIMIT + 1)
    assert (lru.get("a"), lru.bytes, lru.evicted) == (None, 0, 0)


def test_discards() -> None:
    lru: Lru[int, int] = Lru(LIMIT)
    for number in range(5):
        lru.put(number, number, 2)
    assert lru.discard_if(lambda value: value % 2 == 0) == 3
    lru.discard(1)
    lru.discard(7)
    assert (len(lru), lru.bytes, lru.get(3)) == (1, 2, 3)


steps = st.lists(st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 5), st.integers(1, 6)), max_size=40)


@given(steps)
def test_as_the_model_has_it(actions: list[tuple[str, int, int]]) -> None:
    lru: Lru[int, int] = Lru(LIMIT)
    model: list[tuple[int, int]] = []
    for action, key, size in actions:
        known = dict(model)
        if action == "get":
            assert lru.get(key) == known.get(key)
            if key in known:
                model = [each for each in model if each[0] != key] + [(key, known[key])]
        else:
            model = [each for each in model if each[0] != key]
            if action == "put":
                model.append((key, size))
                lru.put(key, size, size)
                while sum(each[1] for each in model) > LIMIT:
                    model.pop(0)
            else:
                lru.discard(key)
        assert lru.bytes == sum(each[1] for each in model)
        assert len(lru) == len(model)
