"""The base of every part of a configuration."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of a configuration. `shorthand` is the field that a bare value stands for."""

    shorthand: ClassVar[str | None] = None
