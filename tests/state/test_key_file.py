"""A file of keys reads as written, and says where a mistake is without repeating what may be a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from state.key_file import KeyFileError, entry_of, load, parse, stamp_of
from state.keys import KeyRecord

DIGEST = "ab" * 32
ENTRY = f"{{id: abcdefghijkl, digest: 'sha256:{DIGEST}', principal: alice}}"


def test_yaml_and_json() -> None:
    expected = {"abcdefghijkl": KeyRecord("abcdefghijkl", bytes.fromhex(DIGEST), "alice")}
    assert parse(f"keys: [{ENTRY}]", "f") == expected
    as_json = {"keys": [{"id": "abcdefghijkl", "digest": f"sha256:{DIGEST}", "principal": "alice"}]}
    assert parse(json.dumps(as_json), "f") == expected
    assert parse("", "f") == parse("keys: []", "f") == {}


def test_all_fields() -> None:
    text = f"""
keys:
  - id: abcdefghijkl
    digest: sha256:{DIGEST}
    principal: alice
    tenant: vision
    name: a laptop
    scopes: [infer, admin]
    not_before: 2026-01-01
    expires: 2026-07-01T02:00:00+02:00
    revoked: true
    limits: {{per_user: 50/s}}
"""
    record = parse(text, "f")["abcdefghijkl"]
    assert (record.tenant, record.name, record.scopes) == ("vision", "a laptop", ("infer", "admin"))
    assert (record.not_before, record.expires, record.revoked) == (1767225600.0, 1782864000.0, 1.0)
    assert record.limits == {"per_user": "50/s"}


def test_a_time_without_a_zone_is_utc() -> None:
    entry = ENTRY.replace("}", ", expires: 2026-01-01 00:00:00}")
    assert parse(f"keys: [{entry}]", "f")["abcdefghijkl"].expires == 1767225600.0


def test_an_entry_of_a_record_reads_back() -> None:
    record = KeyRecord(
        "abcdefghijkl", bytes.fromhex(DIGEST), "alice", "n", "t", ("a",), 0.0, 1e9, 2e9, 1.0, {"l": "1/s"}
    )
    assert parse(json.dumps({"keys": [entry_of(record)]}), "f") == {"abcdefghijkl": record}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys: [", "line 1"),
        ("[]", "f: Expected `object`"),
        ("kays: []", "unknown field `kays`"),
        (f"keys: [{ENTRY}, {ENTRY}]", "expected each id once, got abcdefghijkl again"),
        ("keys: [{id: a}]", r"$.keys[0]"),
        (f"keys: [{ENTRY.replace('sha256:', '')}]", r"$.keys[0].digest"),
        (f"keys: [{ENTRY.replace('alice', '')}]", r"$.keys[0].principal"),
        (f"keys: [{ENTRY.replace('}', ', expires: soon}')}]", r"$.keys[0].expires"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        parse(text, "f")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_that_got_there_is_not_repeated() -> None:
    for text in (f"keys: [{ENTRY.replace('sha256:', 'canary')}]", f"keys: [{ENTRY}, 'canary", "keys: [{id: canary}]"):
        with pytest.raises(KeyFileError) as caught:
            parse(text, "f")
        assert "canary" not in str(caught.value)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    assert stamp_of(str(file)) is None
    with pytest.raises(KeyFileError, match="cannot be read"):
        load(str(file))
    file.write_text(f"keys: [{ENTRY}]")
    first = stamp_of(str(file))
    assert list(load(str(file))) == ["abcdefghijkl"]
    other = tmp_path / "other"
    other.write_text(f"keys: [{ENTRY}]")
    os.replace(other, file)
    assert stamp_of(str(file)) != first
