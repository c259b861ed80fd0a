"""Tells who calls by a JSON Web Token that an issuer has signed.

The token comes as `Authorization: Bearer`. Its signature is checked with the keys that the issuer publishes
(`jwks_url`, or a file), by one of `algorithms`; HMAC and `none` are no choices, and a token has no say in where keys
come from (`jku`, `x5u` and `jwk` are not looked at). It must say `exp`, `iss` and `aud`: when it expires, that it is of
`issuer`, and that it is for one of `audiences`. `nbf` and `iat` are looked at where they are there; clocks may differ
by `skew`.

Claims say who its holder is: `principal`, and optionally `tenant`, by the names of claims, or by their parts between
dots where they are within others (`realm_access.roles`); a claim that is asked for must be there. `scopes` are a list
or words in one text. Names of several issuers, and of API keys, are told apart by a `prefix`.

Keys are read when the first token comes, and again in the background; when that fails, those that are known go on being
used for `stale`, then the answer is 503. A token with a key that is not known has them read again, once for all who
wait and every ten seconds at most. A token that was good is remembered until it expires, the keys change, or `refresh`
is over.

A token of another issuer, or a bearer token that is no JWT, is left to the other policies of identity in the chain; so
for several issuers there are several of these. What is wrong with a token is told to who has one with a good signature.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from config.fields import DAY, HOUR, KIB, count, duration, flag, if_given, one_or_several, size, text
from config.node import Node
from policies import Services
from routing.authentication import AUTHORIZATION, REALM, Authenticator, Challenge, bearer
from routing.call import Call
from routing.claims import BadClaim, Claim, Claims, good_until
from routing.fetch import fetch, read_file
from routing.identity import Identity
from transcoding.http2 import hpack
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from routing.jwks import SigningKey

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

DEFAULT_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "PS256", "ES256", "EdDSA")
NOT_VALID: Final = "the token is not valid"


class Spec(Node, frozen=True):
    """Whose tokens are taken, and what they say."""

    one_of = ("jwks_url", "jwks_file")

    issuer: Annotated[str, text("Who signs: the claim `iss`, letter for letter")]
    audiences: Annotated[tuple[Annotated[str, text("An audience")], ...], one_or_several("One is in the claim `aud`")]
    jwks_url: Annotated[str, text("Where the issuer publishes its keys", "url")] = ""
    jwks_file: Annotated[str, text("A file with the issuer's keys, in place of that", "path")] = ""
    ca: Annotated[str, text("PEM file: whom to trust at `jwks_url`; as the system does if not given", "path")] = ""
    algorithms: Annotated[tuple[Algorithm, ...], if_given("How it may sign", bare_item=True)] = DEFAULT_ALGORITHMS
    principal: Annotated[str, text("The claim that says who calls")] = "sub"
    tenant: Annotated[str, text("The claim that says whom the caller belongs to")] = ""
    scopes: Annotated[str, text("The claim with the caller's rights")] = "scope"
    prefix: Annotated[str, text("What goes before the principal, such as the issuer's short name")] = ""
    skew: Annotated[float, duration("How much clocks may differ", 0.0, 600.0)] = 30.0
    max_lifetime: Annotated[float, duration("The longest time from `iat` to `exp`; 0 for any", 0.0, 3660 * DAY)] = 0.0
    refresh: Annotated[float, duration("How old keys get before they are read again", 10.0, 7 * DAY)] = 10 * 60.0
    stale: Annotated[float, duration("How much older, where they cannot be read", 0.0, 30 * DAY)] = 24 * HOUR
    token_bytes: Annotated[int, size("The longest token", 256, 64 * KIB)] = 8 * KIB
    remembered: Annotated[int, count("How many good tokens are remembered", 0)] = 4096
    forward: Annotated[bool, flag("Whether the endpoint sees the token")] = False
    realm: Annotated[str, text("What a refusal calls this place")] = REALM


class Policy(Authenticator):
    """Verifies tokens of one issuer."""

    def __init__(self, spec: Spec, services: Services) -> None:
        from routing import tokens  # cryptography comes with them, which a worker without this policy must not pay for
        from routing.key_source import KeySource, NoKeys

        self._tokens = tokens
        self._no_keys = NoKeys
        self._spec = spec
        self._audiences = list(spec.audiences)
        self._algorithms = frozenset(spec.algorithms)
        self._principal, self._scopes = Claim(spec.principal), Claim(spec.scopes)
        self._tenant = Claim(spec.tenant) if spec.tenant else None
        self._wall = services.wall
        self._challenge = Challenge("jwt", services.counters, spec.realm)
        self._counters = services.counters
        self._good: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()
        self._keys = KeySource(
            spec.issuer,
            _reader(spec),
            spec.algorithms,
            refresh=spec.refresh,
            stale=spec.stale,
            clock=services.clock,
            spawn=services.spawn,
            told=self._count_reading,
            changed=self._good.clear,
        )

    async def identify(self, call: Call) -> Identity | None:
        """Whose token it is, None where there is none of this issuer. Raises `GatewayError` UNAUTHENTICATED for one
        that is not good, UNAVAILABLE while there are no keys to say so with."""
        token = bearer(call.view) if call.view is not None else None
        if token is None or token.count(b".") != 2:
            return None
        digest = sha256(token).digest()
        good = self._good.get(digest)
        if good is not None and self._wall() < good[1]:
            self._good.move_to_end(digest)
            identity = good[0]
        else:
            verified = await self._verify(token, digest)
            if verified is None:
                return None
            identity = verified
        if self._spec.forward:
            call.metadata += hpack.encode([(AUTHORIZATION, b"Bearer " + token)])
        return identity

    async def _verify(self, token: bytes, digest: bytes) -> Identity | None:
        if len(token) > self._spec.token_bytes:
            raise self._challenge.invalid(NOT_VALID)
        try:
            claims = await self._claims(token)
            if claims is None:
                return None
            until = good_until(claims, self._wall(), self._spec.skew, self._spec.max_lifetime)
            identity = self._identity(claims)
        except self._tokens.BadToken:
            raise self._challenge.invalid(NOT_VALID) from None
        except BadClaim as error:
            raise self._challenge.invalid(str(error), "claims") from None
        self._remember(digest, identity, until)
        return identity

    async def _claims(self, token: bytes) -> Claims | None:
        """What a token with a good signature says, None if it is of another issuer."""
        header = self._tokens.glance(token, self._spec.issuer)
        if header is None:
            return None
        key = await self._key(header.kid, header.alg) if header.alg in self._algorithms else None
        if key is None:
            raise self._tokens.BadToken
        return self._tokens.claims_of(token, key, self._spec.issuer, self._audiences)

    async def _key(self, kid: str, algorithm: str) -> SigningKey | None:
        try:
            return await self._keys.find(kid, algorithm)
        except self._no_keys:
            self._counters("penstock_unauthenticated_total", ("jwt", "no_keys")).value += 1
            text = "the keys that tokens are signed with cannot be read"
            raise GatewayError(Code.UNAVAILABLE, text, fault=Fault.GATEWAY, retry_after=1.0) from None

    def _identity(self, claims: Claims) -> Identity:
        principal = self._spec.prefix + self._principal.text(claims)
        tenant = "" if self._tenant is None else self._tenant.text(claims)
        key = claims.get("jti")
        return Identity(principal, tenant, self._scopes.words(claims), "jwt", key if isinstance(key, str) else "")

    def _remember(self, digest: bytes, identity: Identity, until: float) -> None:
        self._good[digest] = identity, min(until, self._wall() + self._spec.refresh)
        if len(self._good) > self._spec.remembered:
            self._good.popitem(last=False)

    def _count_reading(self, result: str) -> None:
        self._counters("penstock_key_sets_read_total", (result,)).value += 1

    def missing(self, call: Call) -> GatewayError:
        """No token, or none that any policy of the chain takes."""
        if call.view is not None and AUTHORIZATION in call.view.headers:
            return self._challenge.invalid(NOT_VALID)
        return self._challenge.missing("a token is required, as Authorization: Bearer")


def _reader(spec: Spec) -> Callable[[], Awaitable[bytes]]:
    """What reads the document with the keys."""
    if spec.jwks_url:
        return partial(fetch, spec.jwks_url, spec.ca)
    return partial(read_file, Path(spec.jwks_file))
