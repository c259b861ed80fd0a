"""API keys in a file that an operator mounts: YAML or JSON, digests and no secrets.

keys:
  - id: 4nG0aTq81xZb
    digest: sha256:6c0f…              # 64 hex digits: of the key's secret part
    principal: alice
    tenant: vision                    # from here on, all may be left out
    name: alice's laptop
    scopes: [infer]
    not_before: 2026-01-01T00:00:00Z
    expires: 2026-07-01T00:00:00Z
    revoked: false
    limits: {per_user: 50/s}
"""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import UTC, date, datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import yaml
from msgspec import Meta

from state.keys import ID_LENGTH, KeyRecord

LARGEST = 16 * 1024 * 1024
_DIGEST = "^sha256:[0-9a-f]{64}$"
_ID = f"^[0-9A-Za-z]{{{ID_LENGTH}}}$"


class KeyFileError(Exception):
    """The file cannot be read or has mistakes; the text names the first."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key as it is written."""

    id: Annotated[str, Meta(pattern=_ID)]
    digest: Annotated[str, Meta(pattern=_DIGEST)]
    principal: Annotated[str, Meta(min_length=1)]
    tenant: str = ""
    name: str = ""
    scopes: tuple[str, ...] = ()
    not_before: datetime | None = None
    expires: datetime | None = None
    revoked: bool = False
    limits: dict[str, str] = {}


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    keys: tuple[Entry, ...] = ()


class Stamp(NamedTuple):
    """What tells one content from another without reading it. A Kubernetes mount exchanges a link, so the inode and
    both times count."""

    inode: int
    size: int
    modified: int
    changed: int


def stamp_of(path: str) -> Stamp | None:
    """None for a file that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def load(path: str) -> dict[str, KeyRecord]:
    """The keys of the file, by id. Raises `KeyFileError`."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: cannot be read: {error}") from error
    if len(text) > LARGEST:
        raise KeyFileError(f"{path}: expected at most {LARGEST} characters")
    return parse(text, path)


def parse(text: str, source: str) -> dict[str, KeyRecord]:
    """The keys in this text, by id. Raises `KeyFileError`."""
    try:
        written = yaml.safe_load(text)
        entries = msgspec.convert({} if written is None else _timed(written), KeyFile).keys
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise KeyFileError(f"{source}: {_plain(error)}") from error
    records = {entry.id: record_of(entry) for entry in entries}
    if len(records) < len(entries):
        twice, _ = Counter(entry.id for entry in entries).most_common(1)[0]
        raise KeyFileError(f"{source}: expected each id once, got {twice} again")
    return records


def record_of(entry: Entry) -> KeyRecord:
    """The record of an entry."""
    return KeyRecord(
        entry.id,
        bytes.fromhex(entry.digest.partition(":")[2]),
        entry.principal,
        entry.name,
        entry.tenant,
        entry.scopes,
        not_before=_seconds(entry.not_before),
        expires=_seconds(entry.expires),
        revoked=1.0 if entry.revoked else 0.0,
        limits=entry.limits,
    )


def entry_of(record: KeyRecord) -> dict[str, Any]:
    """The entry of a record, for YAML or JSON."""
    entry = Entry(
        record.id,
        f"sha256:{record.digest.hex()}",
        record.principal,
        record.tenant,
        record.name,
        record.scopes,
        _datetime(record.not_before),
        _datetime(record.expires),
        bool(record.revoked),
        record.limits,
    )
    written: dict[str, Any] = msgspec.to_builtins(entry)
    return written


def _timed(written: Any) -> Any:
    """YAML's own dates, which have no zone where none is written, as text; UTC is meant."""
    if isinstance(written, dict):
        return {name: _timed(value) for name, value in written.items()}
    if isinstance(written, list):
        return [_timed(value) for value in written]
    if isinstance(written, datetime):
        return (written if written.tzinfo else written.replace(tzinfo=UTC)).isoformat()
    return f"{written}T00:00:00Z" if isinstance(written, date) else written


def _seconds(when: datetime | None) -> float:
    return when.timestamp() if when is not None else 0.0


def _datetime(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _plain(error: Exception) -> str:
    """On one line, and without the text around it, which might be a secret by mistake."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return re.sub(r"\s+", " ", str(error))
