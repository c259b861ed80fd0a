"""Who shares answers, and what stands before a question's tensors."""

from __future__ import annotations

from itertools import product

from routing.identity import NOBODY, Identity
from routing.questions import context, scope_of


def test_who_shares() -> None:
    ann, bob, lone = Identity("ann", "acme"), Identity("bob", "acme"), Identity("acme")
    assert scope_of("tenant", ann) == scope_of("tenant", bob) == ("tenant", "acme")
    assert scope_of("tenant", lone) == ("principal", "acme"), "a principal is no tenant of that name"
    assert scope_of("principal", ann) == ("principal", "ann")
    assert scope_of("shared", ann) == scope_of("shared", NOBODY) == ("shared", "")
    assert scope_of("tenant", NOBODY) == scope_of("principal", NOBODY) == ("nobody", "")


def test_contexts_do_not_run_into_each_other() -> None:
    parts = ("a", "b", "ab", "")
    contexts = {context(("tenant", one), *rest) for one, *rest in product(parts, parts, parts, parts)}
    assert len(contexts) == 4**4
    headers = [(), (None,), (b"",), (b"absent",), (b"=",), (None, b"x"), (b"x", None)]
    assert len({context(("shared", ""), "p", "m", "1", seen) for seen in headers}) == len(headers)
