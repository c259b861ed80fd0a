"""Certificates say who their holder is, as far as this is asked for."""

from __future__ import annotations

import pytest

from policies.mtls import Policy, Spec, principal_of
from routing.call import Call
from routing.identity import Certificate, Identity
from tests.support.callers import a_call_with, caller_of, challenge_of, refusal_of, spec_of
from tests.support.policies import Counts, some_services

SPIFFE = "spiffe://prod/ns/web/sa/front"
HOLDER = Certificate("front", (SPIFFE, "https://other"), ("front.example", "b.example"), "ab" * 32)
NOBODY_IN = Certificate("", (), (), "cd" * 32)


def policy(**options: object) -> Policy:
    return Policy(spec_of(Spec, **options), some_services())


def shown(certificate: Certificate | None, headers: dict[str, str] | None = None) -> Call:
    call = a_call_with(headers)
    assert call.view is not None
    call.view.certificate = certificate
    return call


@pytest.mark.parametrize(
    ("source", "principal"),
    [("san_uri", SPIFFE), ("san_dns", "front.example"), ("subject_cn", "front"), ("fingerprint", "ab" * 32)],
)
def test_what_names_a_principal(source: str, principal: str) -> None:
    who = Identity(principal, kind="mtls", key=HOLDER.fingerprint)
    assert caller_of(policy(**{"from": source}), shown(HOLDER)) == who
    if source != "fingerprint":
        assert principal_of(NOBODY_IN, source) == ""  # type: ignore[arg-type]


def test_callers_have_tenants_and_scopes_by_the_first_pattern_that_fits() -> None:
    callers = [
        {"principal": ["spiffe://prod/ns/web/*"], "tenant": "web", "scopes": ["infer"]},
        {"principal": ["spiffe://*"], "tenant": "rest"},
    ]
    ours = policy(callers=callers)
    assert caller_of(ours, shown(HOLDER)).tenant == "web"
    assert caller_of(ours, shown(HOLDER)).scopes == {"infer"}
    assert caller_of(ours, shown(HOLDER._replace(uris=("spiffe://x",), fingerprint="f"))).tenant == "rest"


def test_a_certificate_of_nobody_known_is_refused() -> None:
    strict = policy(callers=[{"principal": ["spiffe://other/*"]}])
    assert refusal_of(strict, shown(HOLDER)).message == "the client certificate is of nobody known here"


@pytest.mark.parametrize("source", ["san_uri", "san_dns", "subject_cn"])
def test_a_certificate_without_the_name_is_refused(source: str) -> None:
    refused = refusal_of(policy(**{"from": source}), shown(NOBODY_IN))
    assert refused.message == f"the client certificate has no {source}"


def test_i12_headers_about_certificates_are_nothing() -> None:
    spoofed = {"x-forwarded-client-cert": f"URI={SPIFFE}", "x-ssl-client-cn": "front", "ssl-client-verify": "SUCCESS"}
    refused = refusal_of(policy(), shown(None, spoofed))
    assert refused.message == "a client certificate is required"
    assert challenge_of(refused) == 'ClientCertificate realm="penstock"'


def test_refusals_are_counted_by_reason() -> None:
    counts = Counts()
    ours = Policy(Spec(), some_services(counts))
    refusal_of(ours, shown(None))
    refusal_of(ours, shown(NOBODY_IN))
    family = "penstock_unauthenticated_total"
    assert counts.all() == {(family, "mtls", "missing"): 1, (family, "mtls", "invalid"): 1}
