"""Which orders of a chain of policies are unsound, and why: each policy says it of itself, beside its code.

A policy's module may have `ORDER`, a sequence of `Unsound`. What it names is a kind of policy, or the role `IDENTITY`
of all that say who calls. `penstock check` tells what is found; an order that cannot work is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

IDENTITY: Final = "identity"
Options = Mapping[str, Any]


def always(options: Options) -> bool:
    """Whatever a policy's options are."""
    return True


class Unsound(NamedTuple):
    """A place in a chain where a policy should not stand: `before` one of that kind or role, `after` one of it, or
    `without` one before it. `why` goes on after "… stands before NAME: ". It holds `when` that is true of the policy's
    options."""

    place: Literal["before", "after", "without"]
    other: str
    why: str
    when: Callable[[Options], bool] = always


class Link(NamedTuple):
    """A policy of a chain as it is written: its kind, its name "" for one of its own, its options, its roles beside
    its kind, what it says of orders, and whether it needs the request as it was read."""

    kind: str
    name: str
    options: Options
    roles: frozenset[str] = frozenset()
    order: Sequence[Unsound] = ()
    needs_body: bool = False

    def is_a(self, role: str) -> bool:
        """Whether it has this kind or role."""
        return role == self.kind or role in self.roles

    @property
    def label(self) -> str:
        """What to call it."""
        return f"{self.kind} ({self.name})" if self.name and self.name != self.kind else self.kind


class Doubt(NamedTuple):
    """What is wrong with the policy at `position` of a chain; `fatal` when the chain cannot work so."""

    position: int
    message: str
    fatal: bool = False


def doubts(chain: Sequence[Link]) -> Iterator[Doubt]:
    """All that is unsound in a chain, from the outside in."""
    for position, link in enumerate(chain):
        behind = next((each for each in chain[position + 1 :] if each.is_a(IDENTITY)), None)
        if link.needs_body and behind is not None:
            why = "needs the request as it was read, and nothing is read until it is known who calls"
            yield Doubt(position, f"expected {link.label} after {behind.label}: it {why}", True)
        for unsound in link.order:
            if unsound.when(link.options) and (found := _found(chain, position, unsound)) is not None:
                yield Doubt(position, f"{link.label} stands {found}: {unsound.why}")


def _found(chain: Sequence[Link], position: int, unsound: Unsound) -> str | None:
    others = chain[:position] if unsound.place != "before" else chain[position + 1 :]
    other = next((each for each in others if each.is_a(unsound.other)), None)
    if unsound.place == "without":
        return None if other is not None else f"without {_a(unsound.other)} before it"
    return None if other is None else f"{unsound.place} {other.label}"


def _a(role: str) -> str:
    return "a policy of identity" if role == IDENTITY else f"a {role}"
