"""What a call asks, beside its tensors: of which model, and for whom. Two calls that ask the same have one digest."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from routing.identity import Identity
from transcoding.canonical import join_texts

Scope = Literal["tenant", "principal", "shared"]


def scope_of(scope: Scope, caller: Identity) -> tuple[str, str]:
    """Who shares answers with this caller: kind and name. Whoever has no tenant is one by himself, and all that nobody
    knows are one."""
    if scope == "shared":
        return "shared", ""
    if scope == "tenant" and caller.tenant:
        return "tenant", caller.tenant
    return ("principal", caller.principal) if caller.principal else ("nobody", "")


@lru_cache(maxsize=4096)
def context(scope: tuple[str, str], pool: str, model: str, version: str, seen: tuple[bytes | None, ...] = ()) -> bytes:
    """What stands before the tensors in a digest; `seen` are the values of headers that matter, None for one that is
    not there."""
    headers = ["absent" if value is None else "=" + value.decode("latin-1") for value in seen]
    return join_texts((*scope, pool, model, version, *headers))
