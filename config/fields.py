"""How `config.schema` describes a field: its form, its bounds and one sentence for the reader."""

from __future__ import annotations

from msgspec import Meta

HOUR, DAY = 3600.0, 86400.0
KIB, MIB, GIB = 1024, 1024**2, 1024**3


def duration(says: str, low: float = 0.001, high: float = DAY) -> Meta:
    """Seconds, from `low` to `high`; written as `250ms`, `10s` or `1m30s`."""
    return Meta(ge=low, le=high, description=says, extra={"form": "duration"})


def size(says: str, low: int = 1, high: int = 2 * GIB) -> Meta:
    """Bytes, from `low` to `high`; written as `64MiB`."""
    return Meta(ge=low, le=high, description=says, extra={"form": "size"})


def count(says: str, low: int = 1, high: int = 1_000_000) -> Meta:
    """A whole number from `low` to `high`."""
    return Meta(ge=low, le=high, description=says)


def number(says: str, low: float, high: float) -> Meta:
    """A number with or without a fraction, from `low` to `high`; a share may be written as `20%`."""
    return Meta(ge=low, le=high, description=says, extra={"form": "number"})


def flag(says: str) -> Meta:
    """`true` or `false`."""
    return Meta(description=says)


def text(says: str, form: str = "text") -> Meta:
    """Text of one of `config.forms.FORMS`, kept as written."""
    return Meta(description=says, extra={"form": form})


def several(says: str) -> Meta:
    """A list with at least one item, of a field without a default."""
    return Meta(min_length=1, description=says)


def one_or_several(says: str) -> Meta:
    """A list with at least one item, of a field without a default; a single item needs no list."""
    return Meta(min_length=1, description=says, extra={"bare_item": True})


def if_given(says: str, bare_item: bool = False, most: int | None = None) -> Meta:
    """A list that, where it is written, has at least one item, and at most `most`; its default may be empty, and
    travels between processes. With `bare_item`, a single item needs no list."""
    return Meta(description=says, max_length=most, extra={"least": 1} | ({"bare_item": True} if bare_item else {}))


def items(says: str) -> Meta:
    """A list or mapping that may be empty."""
    return Meta(description=says)
