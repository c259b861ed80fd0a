"""Lets in callers who show no credential, as one principal.

Without this policy a route that asks who calls refuses everybody who does not say so; with it as the last policy of
identity, whoever shows nothing is `principal` (`anonymous`), with the tenant and the scopes that are given here, and
`authorize`, limits and caches can tell such callers from others. Only those who show nothing: a key that is wrong, a
token that has expired, or an `Authorization` that no policy before this one understands is refused, never let in as
somebody else.
"""

from __future__ import annotations

from typing import Annotated

from config.fields import items, text
from config.node import Node
from policies import Services
from routing.authentication import AUTHORIZATION, REALM, Authenticator, Challenge
from routing.call import Call
from routing.identity import NOBODY, Identity
from transcoding.status import GatewayError


class Spec(Node, frozen=True):
    """Who is nobody in particular."""

    principal: Annotated[str, text("What such callers are called")] = "anonymous"
    tenant: Annotated[str, text("Whom they belong to; nobody if not given")] = ""
    scopes: Annotated[tuple[Annotated[str, text("A right")], ...], items("The rights that they have")] = ()
    realm: Annotated[str, text("What a refusal calls this place")] = REALM


class Policy(Authenticator):
    """Introduces all calls without credentials as the same caller."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._identity = Identity(spec.principal, spec.tenant, frozenset(spec.scopes), "anonymous")
        self._challenge = Challenge("anonymous", services.counters, spec.realm)

    async def identify(self, call: Call) -> Identity | None:
        """The one caller there is, unless the listener knows a better one; None for a call with an `Authorization` that
        nobody has taken."""
        if call.caller is not NOBODY:
            return call.caller
        if call.view is None or AUTHORIZATION in call.view.headers:
            return None
        return self._identity

    def missing(self, call: Call) -> GatewayError:
        """There is an `Authorization`, but none of its kind is known here."""
        return self._challenge.invalid("the credential is of no kind that is accepted here")
