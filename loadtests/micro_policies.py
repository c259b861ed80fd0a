"""What each policy costs a call that it lets through: `python -m loadtests.micro_policies`.

Time of one core, in nanoseconds: of a chain with the policy less that of a chain without it, the least of some rounds.
The call is the same again and again, with its head as it came; what must not be remembered is made anew, and that is
taken off too. A policy that is added here has a row that says what it does for the call.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from config.routes import PolicySpec
from loadtests.report.markdown import grid
from policies import Services, make
from routing.call import Call, Handler, Policy, Reply, link
from routing.identity import Certificate, Identity, introduce
from routing.match import INFER, REST, View
from state.keys import KeyRecord, Keys, mint
from transcoding.methods import BY_NAME

CALLS = 100
ROUNDS = 500
KEYS = 10_000
RULES = 50


class Cell:
    """A counter."""

    value = 0.0


class Case(NamedTuple):
    """A policy at work: `calls` gives one call after the other, `per_round` is how many are measured."""

    name: str
    policy: Policy
    calls: Callable[[], Iterator[Call]]
    per_round: int = CALLS


def services(**more: Any) -> Services:
    """What policies are given, with counters that nobody reads."""
    cell = Cell()
    return Services(lambda family, labels=(): cell, {}, **more)


def a_policy(kind: str, given: Services | None = None, **options: Any) -> Policy:
    """A policy as a configuration makes it."""
    return make(PolicySpec(kind, options), given or services())


def a_call(headers: dict[str, str] | None = None, caller: Identity | None = None, version: str = "1") -> Call:
    """A call with the head of a usual client."""
    usual = {"host": "gateway", "user-agent": "client", "content-type": "application/json", "content-length": "120"}
    named = {name.encode(): value.encode() for name, value in {**usual, **(headers or {})}.items()}
    call = Call(BY_NAME["ModelInfer"], "resnet50", version, (b"",), route="r")
    call.view = View(REST, INFER, "resnet50", named, "192.0.2.1")
    if caller is not None:
        introduce(call, caller)
    return call


def again(call: Call) -> Callable[[], Iterator[Call]]:
    """The same call for ever."""

    def calls() -> Iterator[Call]:
        while True:
            yield call

    return calls


def in_turn(calls: Sequence[Call]) -> Callable[[], Iterator[Call]]:
    """One call after the other, and round again."""
    return lambda: cycle(calls)


def bearer(text: str) -> dict[str, str]:
    """The header of a credential."""
    return {"authorization": f"Bearer {text}"}


def api_key() -> Iterator[Case]:
    """A key among many."""
    minted = [mint() for _ in range(KEYS)]
    ring = Keys({key.id: KeyRecord(key.id, key.digest, f"p{number}") for number, key in enumerate(minted)})
    call = a_call(bearer(minted[KEYS // 2].text))
    yield Case(f"api_key, one of {KEYS:,}", a_policy("api_key", services(keys=ring)), again(call))


def tokens() -> Iterator[Case]:
    """Tokens that were seen before, and new ones of three kinds of key."""
    for name, algorithm, bits in (("RSA 2048", "RS256", 2048), ("RSA 4096", "RS256", 4096), ("P-256", "ES256", 0)):
        key: Any = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
        policy = _jwt_policy(key, algorithm)
        if bits == 2048:
            yield Case("jwt, remembered", policy, again(a_call(bearer(_token(key, algorithm, 0)))))
        fresh = [a_call(bearer(_token(key, algorithm, number))) for number in range(20)]
        yield Case(f"jwt, new, {name}", _Forgetful(policy, "_good"), in_turn(fresh), len(fresh))


def _jwt_policy(key: Any, algorithm: str) -> Policy:
    public = key.public_key()
    described = (RSAAlgorithm if algorithm == "RS256" else ECAlgorithm).to_jwk(public, as_dict=True)
    file = Path(tempfile.mkdtemp(prefix="penstock-micro-")) / "keys.json"
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


def others() -> Iterator[Case]:
    """Certificates, nobody, and rights."""
    holder = a_call()
    assert holder.view is not None
    holder.view.certificate = Certificate("web", ("spiffe://prod/ns/web/sa/front",), (), "ab" * 32)
    callers = [{"principal": ["spiffe://prod/ns/web/*"], "tenant": "web"}]
    yield Case("mtls", a_policy("mtls", callers=callers), again(holder))
    yield Case("anonymous", a_policy("anonymous"), again(a_call()))
    alice = Identity("alice", "acme", frozenset({"infer", "gpu"}), "api_key")
    allow = [{"tenants": [f"t{number}"], "models": [f"m{number}-*"]} for number in range(RULES - 1)]
    rights = a_policy("authorize", allow=[*allow, {"tenants": ["acme"], "models": ["resnet*"], "versions": ["1"]}])
    yield Case("authorize, remembered", rights, again(a_call(caller=alice)))
    yield Case(f"authorize, new, {RULES} rules", _Forgetful(rights, "_decided"), again(a_call(caller=alice)))
    yield Case("timeout", a_policy("timeout", total=2.0), again(a_call()))
    yield Case("retry", a_policy("retry"), again(a_call()))


def cases() -> Iterator[Case]:
    """All that are measured."""
    yield from api_key()
    yield from tokens()
    yield from others()


async def answer(call: Call) -> Reply:
    """What stands behind the chain."""
    return REPLY


REPLY = Reply(b"\0\0\0\0\0")


def run(chain: Handler, calls: Iterator[Call], count: int) -> float:
    """Seconds for each of so many calls."""
    started = time.perf_counter()
    for _ in range(count):
        work: Any = chain(next(calls))
        try:
            work.send(None)
        except StopIteration:
            continue
        raise AssertionError("a call waited")
    return (time.perf_counter() - started) / count


def measure(case: Case, rounds: int = ROUNDS) -> float:
    """Nanoseconds that the policy adds to a call."""
    chain, empty = link([case.policy], answer), link([_Nothing()], answer)
    _warm(chain, next(case.calls()))
    calls = case.calls()
    spent = [(run(chain, calls, case.per_round), run(empty, calls, case.per_round)) for _ in range(rounds)]
    return (min(whole for whole, _ in spent) - min(without for _, without in spent)) * 1e9


class _Nothing:
    """A policy that does nothing: what a link of a chain costs in any case is not of those measured."""

    async def __call__(self, call: Call, next: Handler) -> Reply:
        return await next(call)


def _warm(chain: Handler, call: Call) -> None:
    """Once in an event loop, for what has to be read first."""
    import asyncio

    async def once() -> None:
        await chain(call)

    asyncio.run(once())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What each policy costs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    rows = []
    for case in cases():
        rows.append([case.name, f"{measure(case, rounds):,.0f}"])
        print(f"\r{case.name}\x1b[K", end="", file=sys.stderr, flush=True)
    print("\r\x1b[K", end="", file=sys.stderr)
    compiled = Path(str(sys.modules["routing.call"].__file__)).suffix != ".py"
    print(f"ns that a policy adds to a call, beside a link of the chain, {'compiled' if compiled else 'interpreted'}\n")
    print(grid(["policy", "ns"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
