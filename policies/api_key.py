"""Tells who calls by an API key, made by `penstock keys create` or written in a mounted file.

A key comes as `Authorization: Bearer psk_…`, or in the header that `header` names: over REST and gRPC alike, never in a
query string. It says who calls: principal, tenant, scopes, and rates of its own for policies that limit. Several keys
may be of one principal, so that a new one is in use before the old one goes. It ends here: no endpoint sees it unless
`forward` says so.

A key that is unknown, wrong or badly written is refused with 401 and the same words, in the same time. That a key has
expired, is revoked, or not yet valid is told to those who have all of it. While the keys could not be read at all, the
answer is 503.

Several policies of identity in a chain are alternatives: the first whose credential is there decides, right or wrong,
and the last one refuses those who show none. A bearer token that does not begin with `psk_` is left to the others.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Annotated

from config.fields import flag, text
from config.node import Node
from policies import Services
from routing.authentication import AUTHORIZATION, REALM, Authenticator, Challenge, bearer, hide
from routing.call import Call
from routing.identity import NO_LIMITS, Identity
from state.keys import PREFIX, KeyRecord, Standing, digest_of, parts, standing
from transcoding.http2 import hpack
from transcoding.status import Code, Fault, GatewayError

NOT_VALID = "the API key is not valid"
WHY_NOT: dict[Standing, str] = {
    "early": "the API key is not valid yet",
    "expired": "the API key has expired",
    "revoked": "the API key has been revoked",
}
REMEMBERED = 16_384
_BEGINS = f"{PREFIX}_".encode()
_NO_KEY = KeyRecord("", bytes(32), "")
"""Compared with where there is no such key, so that it takes as long; nothing has this digest."""


class Spec(Node, frozen=True):
    """Where the key is, and what becomes of it."""

    needs_keys = True

    header: Annotated[str, text("The header with the key; Authorization, as Bearer, if not given", "any_header")] = ""
    forward: Annotated[bool, flag("Whether the endpoint sees the key")] = False
    realm: Annotated[str, text("What a refusal calls this place")] = REALM


class Policy(Authenticator):
    """Looks a key up by its public part, and compares the digest of its secret part."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._name = spec.header.lower().encode()
        self._forward = spec.forward
        self._keys = services.keys
        self._wall = services.wall
        self._known: dict[str, tuple[KeyRecord, Identity]] = {}
        self._counters = services.counters
        scheme = {"scheme": "ApiKey", "header": spec.header} if spec.header else {}
        self._challenge = Challenge("api_key", services.counters, spec.realm, **scheme)
        self.hides = b"" if spec.forward else self._name

    async def identify(self, call: Call) -> Identity | None:
        """Whose key it is, None where there is none. Raises `GatewayError` UNAUTHENTICATED for one that does not open,
        UNAVAILABLE while no keys are known."""
        shown = self._shown(call)
        if shown is None:
            return None
        identity = self._owner(shown)
        hide(call, self._name)
        if self._forward:
            name, value = (self._name, shown) if self._name else (AUTHORIZATION, b"Bearer " + shown)
            call.metadata += hpack.encode([(name, value)])
        return identity

    def _shown(self, call: Call) -> bytes | None:
        if call.view is None:
            return None
        if self._name:
            return call.view.headers.get(self._name)
        token = bearer(call.view)
        return token if token is not None and token.startswith(_BEGINS) else None

    def _owner(self, shown: bytes) -> Identity:
        key = parts(shown)
        if key is None:
            raise self._challenge.invalid(NOT_VALID)
        record = self._keys.find(key.id)
        opens = compare_digest((record or _NO_KEY).digest, digest_of(key.secret))
        if record is None or not opens:
            if not self._keys.known:
                raise self._unknown()
            raise self._challenge.invalid(NOT_VALID)
        stands = standing(record, self._wall())
        if stands != "valid":
            raise self._challenge.invalid(WHY_NOT[stands], stands)
        return self._identity(record)

    def _identity(self, record: KeyRecord) -> Identity:
        known, identity = self._known.get(record.id, (None, None))
        if identity is None or known is not record:
            limits = record.limits or NO_LIMITS
            scopes = frozenset(record.scopes)
            identity = Identity(record.principal, record.tenant, scopes, "api_key", record.id, limits)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[record.id] = record, identity
        return identity

    def missing(self, call: Call) -> GatewayError:
        """No key, or a bearer token that is none."""
        if not self._name and call.view is not None and AUTHORIZATION in call.view.headers:
            return self._challenge.invalid(NOT_VALID)
        where = f"in the header {self._name.decode()}" if self._name else "as Authorization: Bearer"
        return self._challenge.missing(f"an API key is required, {where}")

    def _unknown(self) -> GatewayError:
        self._counters("penstock_unauthenticated_total", ("api_key", "unread")).value += 1
        text = "the API keys could not be read yet"
        return GatewayError(Code.UNAVAILABLE, text, fault=Fault.GATEWAY, retry_after=1.0)
