"""The base of every part of a configuration."""

from __future__ import annotations

from typing import ClassVar

import msgspec

NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
"""What the names of pools, variants and shared policies match."""


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of a configuration. `shorthand` is the field that a bare value stands for; of the fields in
    `one_of`, exactly one is given, and of those in `some_of` one at least."""

    shorthand: ClassVar[str | None] = None
    one_of: ClassVar[tuple[str, ...]] = ()
    some_of: ClassVar[tuple[str, ...]] = ()
