"""Envoy as a public door: `jwt_authn` with RS256 and a local JWKS, a local rate limit, and an access log in a file.

The filters are in the order that Envoy's own documentation has them. The log is Envoy's default text. By default
`jwt_authn` verifies the signature of each request anew; with `jwt_cache_config` it remembers tokens, as Penstock does,
and that is what the aims are about. Its local limit is one for all callers: what would hold for each needs a service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from loadtests.credentials import AUDIENCE, ISSUER
from loadtests.peers.envoy import V3, EnvoyGrpc, EnvoyTranscoder
from loadtests.peers.penstock_policies import RATE, WithToken

_CACHED_TOKENS = 1000
Filter = dict[str, Any]


def jwt_filter(jwks: str, remembers: bool) -> Filter:
    """A token of the issuer is required of every request, and is not sent on."""
    provider: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks},
    }
    if remembers:
        provider["jwt_cache_config"] = {"jwt_cache_size": _CACHED_TOKENS}
    return _filter(
        "jwt_authn",
        "jwt_authn.v3.JwtAuthentication",
        providers={"issuer": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}],
    )


def limit_filter() -> Filter:
    """A token bucket of the rate that Penstock's limit has, for every request."""
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="limit",
        token_bucket={"max_tokens": RATE, "tokens_per_fill": RATE, "fill_interval": "1s"},
        filter_enabled=always,
        filter_enforced=always,
    )


def access_log(path: Path) -> dict[str, Any]:
    """One line for each request."""
    config = {"@type": f"{V3}.access_loggers.file.v3.FileAccessLog", "path": str(path)}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _filter(name: str, kind: str, **config: Any) -> Filter:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{V3}.filters.http.{kind}", **config},
    }


class EnvoyTranscoderPolicies(WithToken, EnvoyTranscoder):
    """Token, limit and log before the transcoder; tokens that were seen before are remembered."""

    name = "envoy_transcoder_policies"
    label = "Envoy transcoder: JWT, local limit, log"
    remembers: ClassVar[bool] = True

    def filters(self) -> list[Filter]:
        """What checks comes first."""
        return [jwt_filter(self._token.jwks, self.remembers), limit_filter(), *super().filters()]

    def access_log(self) -> list[dict[str, Any]]:
        """In a file."""
        return [access_log(self.scratch / f"{self.name}.access.log")]


class EnvoyTranscoderPoliciesDefault(EnvoyTranscoderPolicies):
    """Each signature is verified, which is Envoy's default."""

    name = "envoy_transcoder_policies_default"
    label = "the same, each token verified (default)"
    remembers = False


class EnvoyGrpcPolicies(WithToken, EnvoyGrpc):
    """The same before a gRPC passthrough; tokens that were seen before are remembered."""

    name = "envoy_grpc_policies"
    label = "Envoy gRPC: JWT, local limit, log"

    def filters(self) -> list[Filter]:
        """No more than what checks."""
        return [jwt_filter(self._token.jwks, True), limit_filter()]

    def access_log(self) -> list[dict[str, Any]]:
        """In a file."""
        return [access_log(self.scratch / f"{self.name}.access.log")]
