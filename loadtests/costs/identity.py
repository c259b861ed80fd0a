"""Who calls, and what it may."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from loadtests.costs.case import MODEL, Case, Cases, Stage, a_call, a_policy, again, bearer, in_turn, services
from routing.call import Call, Handler, Policy, Reply
from routing.identity import Certificate, Identity
from state.keys import KeyRecord, Keys, mint

KEYS = 10_000
RULES = 50


async def cases(stage: Stage) -> Cases:
    """Keys, tokens, certificates, nobody, rights."""
    minted = [mint() for _ in range(KEYS)]
    ring = Keys({key.id: KeyRecord(key.id, key.digest, f"p{number}") for number, key in enumerate(minted)})
    call = a_call(bearer(minted[KEYS // 2].text))
    yield Case("api_key", f"one of {KEYS:,}", a_policy("api_key", services(keys=ring)), again(call))
    async for case in _tokens(Path(stage.directory)):
        yield case
    holder = a_call()
    assert holder.view is not None
    holder.view.certificate = Certificate("web", ("spiffe://prod/ns/web/sa/front",), (), "ab" * 32)
    callers = [{"principal": ["spiffe://prod/ns/web/*"], "tenant": "web"}]
    yield Case("mtls", "", a_policy("mtls", callers=callers), again(holder))
    yield Case("anonymous", "", a_policy("anonymous"), again(a_call()))
    async for case in _rights():
        yield case


async def _rights() -> Cases:
    alice = a_call(caller=Identity("alice", "acme", frozenset({"infer", "gpu"}), "api_key"))
    allow = [{"tenants": [f"t{number}"], "models": [f"m{number}-*"]} for number in range(RULES - 1)]
    allow.append({"tenants": ["acme"], "models": [f"{MODEL[:3]}*"], "versions": ["1"]})
    rights = a_policy("authorize", allow=allow)
    yield Case("authorize", "decided before", rights, again(alice))
    yield Case("authorize", f"decided anew, {RULES} rules", _Forgetful(rights, "_decided"), again(alice))


async def _tokens(directory: Path) -> Cases:
    """Tokens that were seen before, and new ones of three kinds of key."""
    for name, algorithm, bits in (("RSA 2048", "RS256", 2048), ("RSA 4096", "RS256", 4096), ("P-256", "ES256", 0)):
        key: Any = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
        policy = _jwt_policy(key, algorithm, directory / f"{name}.json")
        if bits == 2048:
            yield Case("jwt", "seen before", policy, again(a_call(bearer(_token(key, algorithm, 0)))))
        fresh = [a_call(bearer(_token(key, algorithm, number))) for number in range(20)]
        yield Case("jwt", f"verified anew, {name}", _Forgetful(policy, "_good"), in_turn(fresh), len(fresh))


def _jwt_policy(key: Any, algorithm: str, file: Path) -> Policy:
    public = key.public_key()
    described = (RSAAlgorithm if algorithm == "RS256" else ECAlgorithm).to_jwk(public, as_dict=True)
    file.write_text(json.dumps({"keys": [{**described, "kid": "k"}]}))
    return a_policy("jwt", issuer="https://login.example", audiences=["gateway"], jwks_file=str(file))


def _token(key: Any, algorithm: str, number: int) -> str:
    claims = {"iss": "https://login.example", "aud": "gateway", "sub": f"user-{number}", "scope": "infer",
              "exp": time.time() + 3600, "iat": time.time()}  # fmt: skip
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k"})


class _Forgetful:
    """A policy that remembers nothing of the call before, in the attribute where it would."""

    def __init__(self, policy: Policy, memory: str) -> None:
        self._policy = policy
        self._memory: dict[Any, Any] = getattr(policy, memory)

    async def __call__(self, call: Call, next: Handler) -> Reply:
        self._memory.clear()
        return await self._policy(call, next)
