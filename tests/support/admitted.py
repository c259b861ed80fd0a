"""Policies that let through only who is known, and calls of those who are: what the tests of every policy need of them.

`admission(kind)` has nothing to say of a policy that lets anybody through.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routing.call import Call
from routing.identity import Certificate
from state.keys import KeyRecord, Keys, mint
from tests.support.callers import a_call_with
from tests.support.issuer import AUDIENCE, ISSUER, jwks, token


@dataclass(frozen=True)
class Admission:
    """Options and services of a policy, and what makes a call one that it lets through; None if every call is."""

    options: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Call], None] | None = None

    def admitted(self, call: Call) -> Call:
        """The same call, let through."""
        if self.prepare is not None:
            self.prepare(call)
        return call


def _with(headers: Mapping[str, str], certificate: Certificate | None = None) -> Callable[[Call], None]:
    def prepare(call: Call) -> None:
        call.view = a_call_with(headers).view
        assert call.view is not None
        call.view.certificate = certificate

    return prepare


def _api_key() -> Admission:
    key = mint()
    keys = Keys({key.id: KeyRecord(key.id, key.digest, "alice")})
    return Admission(services={"keys": keys}, prepare=_with({"authorization": f"Bearer {key.text}"}))


def _jwt() -> Admission:
    file = Path(tempfile.mkdtemp(prefix="penstock-test-")) / "keys.json"
    file.write_bytes(jwks())
    options = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(file)}
    return Admission(options, prepare=_with({"authorization": f"Bearer {token()}"}))


def _mtls() -> Admission:
    return Admission(prepare=_with({}, Certificate("cn", ("spiffe://a",), ("a.example",), "ab")))


_ADMISSIONS: dict[str, Callable[[], Admission]] = {
    "anonymous": lambda: Admission(prepare=_with({})),
    "api_key": _api_key,
    "authorize": lambda: Admission({"allow": [{}]}),
    "jwt": _jwt,
    "mtls": _mtls,
}


def admission(kind: str) -> Admission:
    """What lets a call through a policy of this kind."""
    return _ADMISSIONS.get(kind, Admission)()
