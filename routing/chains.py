"""The policies of a route in the parts that a request passes one after the other.

The chain is as it is written. Who calls must be known before rules and splits are looked at, and before much is read of
the request; so what stands before the last policy of identity, and that one, are the *head* of the chain: they run with
the request's head alone. The *tail* runs when the request is read and its variant chosen. Requests without tensors pass
the policies of identity and those that guard, whichever part they are in.

A policy says of itself by class attributes what it is: `identifies` (it finds out who calls), `guards` (it holds for
requests without tensors too), `needs_view` (it looks at `Call.view`), `needs_body` (it needs the request as it was
read, so it can only be in the tail).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.call import Handler, Policy, link, proceed


@dataclass(frozen=True, slots=True)
class Chains:
    """A chain of policies, linked. `head` and `guards` end in `Call.proceed` and are None where there is nothing for
    them to do; `tail` is for whoever knows where it ends. `needs_view` says that any of head and tail looks at the
    request's head, `guards_view` the same of guards."""

    head: Handler | None = None
    tail: tuple[Policy, ...] = ()
    guards: Handler | None = None
    needs_view: bool = False
    guards_view: bool = False


NO_CHAINS = Chains()


def chains(policies: Sequence[Policy], front: Sequence[Policy] = ()) -> Chains:
    """The parts of the chain of a route, from the outside in, behind those in `front` of all routes of a listener. Of
    either all that it asks for holds: who calls is found out by one policy of the listener, if it has any, and again by
    one of the route, whose word is the last."""
    every = (*front, *policies)
    if not every:
        return NO_CHAINS
    last = max((place for place, each in enumerate(every, 1) if is_a("identifies", each)), default=0)
    behind = max(last - len(front), 0)
    guards = [each for each in every if is_a("identifies", each) or is_a("guards", each)]
    return Chains(
        head=_linked(front[:last], policies[:behind]) if last else None,
        tail=every[last:],
        guards=_linked(_among(guards, front), _among(guards, policies)) if guards else None,
        needs_view=any(is_a("needs_view", each) for each in every),
        guards_view=any(is_a("needs_view", each) for each in guards),
    )


def _linked(front: Sequence[Policy], policies: Sequence[Policy]) -> Handler:
    return link(front, link(policies, proceed))


def _among(guards: Sequence[Policy], policies: Sequence[Policy]) -> list[Policy]:
    return [each for each in policies if each in guards]


def is_a(attribute: str, policy: Policy) -> bool:
    """Whether a policy says this of itself."""
    return getattr(policy, attribute, False) is True
