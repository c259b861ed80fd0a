"""Keys are written so that they are found and told from chance, and verified so that time tells nothing."""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.keys import LENGTH, KeyRecord, Keys, mint, parts, read, standing, verify


def a_record(**more: object) -> KeyRecord:
    return KeyRecord("abcdefghijkl", sha256(b"secret").digest(), "alice", **more)  # type: ignore[arg-type]


def test_a_new_key_reads_back() -> None:
    minted = mint()
    shown = read(minted.text)
    assert re.fullmatch("psk_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", minted.text)
    assert shown is not None
    assert shown.id == minted.id
    assert sha256(shown.secret).digest() == minted.digest
    assert verify(KeyRecord(minted.id, minted.digest, "alice"), shown.secret, 0.0)


def test_no_two_are_alike() -> None:
    assert len({mint().text for _ in range(100)}) == 100


@pytest.mark.parametrize("at", [0, 5, 20, 62, LENGTH - 1])
def test_a_slip_of_one_letter_is_no_key(at: int) -> None:
    text = mint().text
    other = "x" if text[at] != "x" else "y"
    assert read(text[:at] + other + text[at + 1 :]) is None


@given(st.text(max_size=80) | st.from_regex("psk_[0-9A-Za-z_]{60,66}", fullmatch=True))
def test_any_text_is_no_key(text: str) -> None:
    assert read(text) is None


def test_text_of_the_right_length_that_is_not_ascii() -> None:
    assert read("ä" * LENGTH) is None


def test_only_the_secret_opens_it() -> None:
    record = a_record()
    assert verify(record, b"secret", 1.0)
    assert not verify(record, b"secres", 1.0)
    assert not verify(record, b"", 1.0)
    assert not verify(None, b"secret", 1.0)


def test_its_time_has_bounds() -> None:
    record = a_record(not_before=10.0, expires=20.0)
    assert [standing(record, now) for now in (9.9, 10.0, 19.9, 20.0)] == ["early", "valid", "valid", "expired"]
    assert [verify(record, b"secret", now) for now in (9.9, 10.0, 20.0)] == [False, True, False]


def test_revoked_is_for_good() -> None:
    record = a_record(revoked=5.0)
    assert standing(record, 1.0) == "revoked"
    assert not verify(record, b"secret", 1.0)


def test_a_ring_that_was_never_read_says_so() -> None:
    assert not Keys().known
    ring = Keys({"abcdefghijkl": a_record()})
    assert ring.known
    assert ring.find("abcdefghijkl") == a_record()
    assert ring.find("other") is None


def test_nothing_secret_is_shown() -> None:
    minted = mint()
    shown = read(minted.text)
    assert shown is not None
    record = KeyRecord(minted.id, minted.digest, "alice")
    for text in (repr(minted), repr(shown), repr(record), str(minted)):
        assert shown.secret.decode() not in text
        assert minted.digest.hex() not in text
        assert repr(minted.digest) not in text


def test_travels_between_processes() -> None:
    record = a_record(scopes=("infer",), limits={"per_user": "5/s"}, expires=5.0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=KeyRecord) == record


def test_a_glance_finds_the_same_parts() -> None:
    minted = mint()
    assert parts(minted.text.encode()) == read(minted.text)


@pytest.mark.parametrize("text", ["", "psk_", "psk_" + "a" * 63, "x" * LENGTH, "psk_" + "é" * 31 + "a"])
def test_a_glance_at_anything_else_finds_nothing(text: str) -> None:
    assert parts(text.encode()) is None


def test_a_glance_does_not_mind_a_slip_in_the_check() -> None:
    minted = mint()
    glanced = parts((minted.text[:-1] + "!").encode())
    assert glanced == read(minted.text)
