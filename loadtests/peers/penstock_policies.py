"""Penstock as a public door: who calls is known, how much is limited, and metrics are kept, which they always are.

The limit is what is usual, one for each caller, and far above what is asked, so that nothing is refused. Answers tell
what is left of it (`RateLimit`, `RateLimit-Policy`), which is the default. The embedded store, of which a leased limit
takes its batches, is a process of the gateway and counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from loadtests.credentials import AUDIENCE, ISSUER, ApiKey, Token
from loadtests.exchange import Headers
from loadtests.peers.base import Backend, Peer
from loadtests.peers.penstock import Penstock, PenstockPure

RATE = 100_000
"""Requests a second for each caller, and as many at once."""


class WithToken(Peer):
    """A peer that is shown a token, and knows its issuer's keys."""

    def __init__(self, backend: Backend, scratch: Path) -> None:
        super().__init__(backend, scratch)
        self._token = Token()

    @property
    def headers(self) -> Headers:
        """The token."""
        return self._token.headers


class PenstockPolicies(Penstock):
    """A key from a file and a limit that workers lease from the embedded store: what a configuration says that says
    no more than `api_key` and `rate_limit`."""

    name = "penstock_policies"
    label = "Penstock: key, leased limit, metrics"
    mode: ClassVar[str] = "leased"

    def __init__(self, backend: Backend, scratch: Path) -> None:
        super().__init__(backend, scratch)
        self._key = ApiKey()

    @property
    def headers(self) -> Headers:
        """The key."""
        return self._key.headers

    def command(self) -> list[str]:
        """Write the key file, too."""
        keys = self.scratch / f"{self.name}.keys.yaml"
        keys.write_text(self._key.file)
        self.more = _policies("{kind: api_key}", self.mode) + f"key_file: {keys}\n"
        return super().command()


class PenstockPoliciesPure(PenstockPolicies):
    """The same, not compiled."""

    name = "penstock_policies_pure"
    label = "Penstock, pure Python: the same"

    build = PenstockPure.build
    missing = PenstockPure.missing


class PenstockPoliciesLocal(PenstockPolicies):
    """The limit counted in memory that the workers of the node share; there is no store."""

    name = "penstock_policies_local"
    label = "Penstock: key, local limit, metrics"
    mode = "local"


class PenstockPoliciesJwt(WithToken, Penstock):
    """A token as Envoy gets it, in the place of the key."""

    name = "penstock_policies_jwt"
    label = "Penstock: JWT, leased limit, metrics"

    def command(self) -> list[str]:
        """Write the issuer's keys, too."""
        keys = self.scratch / f"{self.name}.jwks.json"
        keys.write_text(self._token.jwks)
        options = f"kind: jwt, issuer: {ISSUER!r}, audiences: [{AUDIENCE}], jwks_file: {str(keys)!r}"
        self.more = _policies(f"{{{options}}}", "leased")
        return super().command()


def _policies(identity: str, mode: str) -> str:
    return f"    policies: [{identity}, {{kind: rate_limit, rate: {RATE}/s, mode: {mode}}}]\n"
