"""Who calls: what an authentication policy found out, for rules, splits, limits, caches and logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

NO_LIMITS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. `principal` is unique within the configuration, "" for nobody known; `tenant` is whom it belongs to, ""
    for none; `scopes` are the rights it was given; `kind` says how it proved that ("api_key", "jwt", "mtls",
    "anonymous"); `key` is the public part of the credential, for audit; `limits` are rates of its own by the name of a
    rate_limit policy, such as {"per_user": "50/s"}."""

    principal: str = ""
    tenant: str = ""
    scopes: frozenset[str] = field(default_factory=frozenset)
    kind: str = ""
    key: str = ""
    limits: Mapping[str, str] = field(default_factory=lambda: NO_LIMITS)


NOBODY: Final = Identity()
