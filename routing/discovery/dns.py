"""Endpoints by DNS: each address of a name (A, AAAA), or what SRV records name (RFC 2782).

Asked again when the shortest TTL of an answer is over, within the configured bounds. A question that fails (no server
answers, SERVFAIL) keeps what was last known of it and is asked again, ever more rarely. An answer without addresses, be
it NXDOMAIN, takes the endpoints away only when it was given `EMPTY_ANSWERS` times in a row: a name server that starts,
or a record that is replaced, has a moment without.

Of SRV records those with the lowest priority count; weights become those of the endpoints, 1 on average. Names of the
hosts file are not found.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from config.pools import Discover, Endpoint

EMPTY_ANSWERS: Final = 3
JITTER: Final = 0.1
"""The share of an interval by which it varies, so that many gateways do not ask at once."""
LIFETIME: Final = 5.0
"""Seconds that one question may take, with all its repetitions."""
LIGHTEST, HEAVIEST = 0.001, 1000.0
"""The weights that an endpoint may have."""
MOST_ENDPOINTS: Final = 1024
_FAMILIES: Final = (dns.rdatatype.A, dns.rdatatype.AAAA)

_log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class Answer(NamedTuple):
    """Records of one question as text, or SRV as it is, and how long they hold, in seconds."""

    records: tuple[str | SRV, ...]
    ttl: float


class Dns:
    """What a name has. `rng` gives the jitter."""

    def __init__(self, config: Discover, *, rng: random.Random | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._failure = ""
        self._config = config
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._name = config.srv or config.dns or ""
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._answers: dict[tuple[str, int], Answer] = {}
        self._endpoints: tuple[Endpoint, ...] = ()
        self._empty = 0
        self._failed = 0

    @property
    def failure(self) -> str:
        """What the last look could not find out."""
        return self._failure

    def current(self) -> tuple[Endpoint, ...]:
        """What the last good answers said, by address."""
        return self._endpoints

    async def run(self, changed: Callable[[], None]) -> None:
        """Ask until cancelled."""
        first = True
        while True:
            before = self._endpoints
            delay = await self.look()
            if first or self._endpoints != before:
                changed()
            first = False
            await self._sleep(delay)

    async def look(self) -> float:
        """Ask once; after how many seconds to ask again."""
        problems: list[str] = []
        asked: dict[tuple[str, int], Answer] = {}
        found = await self._find(asked, problems)
        self._answers = asked
        self._note("; ".join(problems))
        if found:
            self._empty = 0
            self._take(found)
        elif not problems:
            self._empty += 1
            if self._empty >= EMPTY_ANSWERS:
                self._take(())
        return self._delay(asked.values())

    async def _find(self, asked: dict[tuple[str, int], Answer], problems: list[str]) -> tuple[Endpoint, ...]:
        if self._config.srv is None:
            host, _, port = self._name.rpartition(":")
            hosts = await self._addresses(host, asked, problems)
            return tuple(Endpoint(join(each, int(port))) for each in hosts)
        records = [each for each in await self._ask(self._name, dns.rdatatype.SRV, asked, problems)
                   if isinstance(each, SRV) and each.target.to_text() != "."]  # fmt: skip
        first = min((record.priority for record in records), default=0)
        best = [record for record in records if record.priority == first]
        names = sorted({record.target.to_text() for record in best})
        hosts_of = dict(
            zip(names, await asyncio.gather(*(self._addresses(name, asked, problems) for name in names)), strict=True)
        )
        mean = sum(record.weight for record in best) / max(1, len(best))
        return tuple(
            Endpoint(join(host, record.port), weight=weight_of(record.weight, mean))
            for record in best
            for host in hosts_of[record.target.to_text()]
        )

    async def _addresses(self, host: str, asked: dict[tuple[str, int], Answer], problems: list[str]) -> list[str]:
        both = await asyncio.gather(*(self._ask(host, family, asked, problems) for family in _FAMILIES))
        return [str(each) for answer in both for each in answer]

    async def _ask(
        self, name: str, kind: dns.rdatatype.RdataType, asked: dict[tuple[str, int], Answer], problems: list[str]
    ) -> tuple[str | SRV, ...]:
        """The records of one question, those of its last answer if it fails."""
        try:
            answer = await self._resolve(name, kind)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            problems.append(f"{name} {dns.rdatatype.to_text(kind)}: {error or type(error).__name__}")
            answer = self._answers.get((name, kind), Answer((), 0.0))
        asked[name, kind] = answer
        return answer.records

    async def _resolve(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        if self._resolver is None:
            self._resolver = resolver_of(self._config.nameserver)
        try:
            got = await self._resolver.resolve(name, kind, lifetime=LIFETIME, search=True, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Answer((), 0.0)
        if got.rrset is None:
            return Answer((), 0.0)
        records = tuple(each if isinstance(each, SRV) else each.to_text() for each in got.rrset)
        return Answer(records, float(got.chaining_result.minimum_ttl))

    def _take(self, found: Iterable[Endpoint]) -> None:
        by_address: dict[str, Endpoint] = {}
        for endpoint in found:
            by_address.setdefault(endpoint.address, endpoint)
        if len(by_address) > MOST_ENDPOINTS:
            _log.warning("too many addresses", extra={"dns": self._name, "found": len(by_address)})
        endpoints = tuple(by_address[address] for address in sorted(by_address, key=in_order)[:MOST_ENDPOINTS])
        if endpoints != self._endpoints:
            extra = {"dns": self._name, "endpoints": [each.address for each in endpoints]}
            _log.info("endpoints changed", extra=extra)
            self._endpoints = endpoints

    def _note(self, failure: str) -> None:
        self._failed = self._failed + 1 if failure else 0
        if failure and not self._failure:
            _log.warning("DNS failed; its last answer stays", extra={"dns": self._name, "reason": failure})
        elif self._failure and not failure:
            _log.info("DNS answers again", extra={"dns": self._name})
        self._failure = failure

    def _delay(self, answers: Iterable[Answer]) -> float:
        least, most = self._config.min_interval, max(self._config.min_interval, self._config.max_interval)
        if self._failed:
            seconds = least * 2.0 ** min(self._failed - 1, 16)
        elif self._empty:
            seconds = least
        else:
            seconds = min((answer.ttl for answer in answers if answer.records), default=least)
        varied = min(most, max(least, seconds)) * self._rng.uniform(1 - JITTER, 1 + JITTER)
        return min(most, max(least, varied))


def resolver_of(nameserver: str | None) -> dns.asyncresolver.Resolver:
    """One that asks this server (`address:port`) or, for None, those of /etc/resolv.conf. Raises `DNSException` when
    there are none."""
    resolver = dns.asyncresolver.Resolver(configure=nameserver is None)
    if nameserver is not None:
        host, _, port = nameserver.rpartition(":")
        resolver.nameservers = [host.strip("[]")]
        resolver.port = int(port)
    return resolver


def join(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def in_order(address: str) -> tuple[int, Sequence[int], int]:
    """By family, address and port, as numbers."""
    host, _, port = address.rpartition(":")
    parsed = ip_address(host.strip("[]"))
    return parsed.version, tuple(parsed.packed), int(port)


def weight_of(weight: int, mean: float) -> float:
    """The weight of an endpoint whose SRV record says `weight`, where that is `mean` on average. All are 0 where there
    is nothing to choose."""
    return min(HEAVIEST, max(LIGHTEST, weight / mean)) if mean else 1.0
