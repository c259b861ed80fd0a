"""Endpoints by DNS, asked of a real name server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator

import pytest

from config.pools import Discover
from routing.discovery import dns as module
from routing.discovery.dns import EMPTY_ANSWERS, JITTER, Dns
from tests.support.dns_server import DnsServer

NAME = "triton.test"
SRV = "_grpc._tcp.triton.test"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def source(server: DnsServer) -> Dns:
    return Dns(Discover(dns=f"{NAME}:8001", nameserver=server.address), rng=random.Random(1))


@pytest.fixture
def records(server: DnsServer) -> Dns:
    return Dns(Discover(srv=SRV, nameserver=server.address), rng=random.Random(1))


def look(source: Dns) -> float:
    """Ask once; the seconds to the next time."""
    return asyncio.run(source.look())


def found(source: Dns) -> list[str]:
    return [endpoint.address for endpoint in source.current()]


def around(seconds: float) -> object:
    return pytest.approx(seconds, rel=JITTER)


def test_each_address_is_an_endpoint_in_the_order_of_numbers(server: DnsServer, source: Dns) -> None:
    server.set(NAME, "A", "10.0.0.10", "10.0.0.9", "10.0.0.9")
    server.set(NAME, "AAAA", "fd00::2")
    assert look(source) == around(5)
    assert found(source) == ["10.0.0.9:8001", "10.0.0.10:8001", "[fd00::2]:8001"]


def test_it_is_asked_again_when_the_shortest_ttl_is_over_within_the_bounds(server: DnsServer, source: Dns) -> None:
    server.set(NAME, "A", "10.0.0.1", ttl=20)
    server.set(NAME, "AAAA", "fd00::1", ttl=7)
    assert look(source) == around(7)
    server.set(NAME, "AAAA", ttl=3)
    assert look(source) == around(20)
    server.set(NAME, "A", "10.0.0.1", ttl=3600)
    assert 30 * (1 - JITTER) <= look(source) <= 30
    server.set(NAME, "A", "10.0.0.1", ttl=0)
    assert 1 <= look(source) <= 1 + JITTER


def test_many_gateways_do_not_ask_at_once(server: DnsServer) -> None:
    server.set(NAME, "A", "10.0.0.1", ttl=20)
    config = Discover(dns=f"{NAME}:8001", nameserver=server.address)
    assert len({look(Dns(config, rng=random.Random(seed))) for seed in range(5)}) == 5


@pytest.mark.parametrize("failure", ["SERVFAIL", "REFUSED", "silence"])
def test_a_failure_keeps_the_last_answer_says_so_and_is_tried_ever_more_rarely(
    server: DnsServer, source: Dns, failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0.3)
    caplog.set_level(logging.INFO)
    server.set(NAME, "A", "10.0.0.1")
    look(source)
    server.fail(NAME, "A", failure)
    delays = [look(source) for _ in range(7)]
    assert found(source) == ["10.0.0.1:8001"]
    assert f"{NAME} A: " in source.failure
    assert [round(delay, -1) if delay > 20 else round(delay) for delay in delays[:2]] == [1, 2]
    assert delays[-1] > 20
    server.set(NAME, "A", "10.0.0.2")
    look(source)
    assert (found(source), source.failure) == (["10.0.0.2:8001"], "")
    texts = [record.message for record in caplog.records if record.name == module.__name__]
    assert texts.count("DNS failed; its last answer stays") == 1
    assert texts.count("DNS answers again") == 1


def test_one_family_that_fails_does_not_hide_changes_of_the_other(server: DnsServer, source: Dns) -> None:
    server.set(NAME, "A", "10.0.0.1")
    server.set(NAME, "AAAA", "fd00::1")
    look(source)
    server.fail(NAME, "AAAA", "SERVFAIL")
    server.set(NAME, "A", "10.0.0.2")
    look(source)
    assert found(source) == ["10.0.0.2:8001", "[fd00::1]:8001"]


@pytest.mark.parametrize("how", ["no such name", "no records"])
def test_an_answer_without_addresses_is_believed_when_it_is_repeated(server: DnsServer, source: Dns, how: str) -> None:
    server.set(NAME, "A", "10.0.0.1", ttl=60)
    look(source)
    if how == "no such name":
        server.remove(NAME)
    else:
        server.set(NAME, "A")
    for _ in range(EMPTY_ANSWERS - 1):
        assert look(source) == around(1)
        assert found(source) == ["10.0.0.1:8001"]
    look(source)
    assert (found(source), source.failure) == ([], "")
    server.set(NAME, "A", "10.0.0.3")
    look(source)
    assert found(source) == ["10.0.0.3:8001"]


def test_an_answer_with_addresses_forgets_those_without(server: DnsServer, source: Dns) -> None:
    for _ in range(3):
        server.set(NAME, "A", "10.0.0.1")
        look(source)
        server.remove(NAME)
        look(source)
        look(source)
    assert found(source) == ["10.0.0.1:8001"]


def test_a_failure_between_empty_answers_counts_neither_way(
    server: DnsServer, source: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0.3)
    server.set(NAME, "A", "10.0.0.1")
    look(source)
    server.set(NAME, "A")
    for _ in range(2):
        look(source)
        server.fail(NAME, "A", "SERVFAIL")
        look(source)
        server.set(NAME, "A")
        assert found(source) == ["10.0.0.1:8001"]
    look(source)
    assert found(source) == []


def test_srv_records_name_hosts_ports_and_weights(server: DnsServer, records: Dns) -> None:
    server.set(SRV, "SRV", "10 30 8001 one.test.", "10 10 9001 two.test.", "20 50 8001 spare.test.", ttl=20)
    server.set("one.test", "A", "10.0.0.1", "10.0.0.2", ttl=9)
    server.set("two.test", "AAAA", "fd00::1", ttl=60)
    assert look(records) == around(9)
    told = {endpoint.address: endpoint.weight for endpoint in records.current()}
    assert told == {"10.0.0.1:8001": 1.5, "10.0.0.2:8001": 1.5, "[fd00::1]:9001": 0.5}
    assert not server.asked["spare.test", "A"]


def test_srv_weights_of_zero_are_all_alike_and_one_zero_among_others_gets_next_to_nothing(
    server: DnsServer, records: Dns
) -> None:
    server.set("one.test", "A", "10.0.0.1")
    server.set("two.test", "A", "10.0.0.2")
    server.set(SRV, "SRV", "0 0 8001 one.test.", "0 0 8001 two.test.")
    look(records)
    assert [endpoint.weight for endpoint in records.current()] == [1.0, 1.0]
    server.set(SRV, "SRV", "0 0 8001 one.test.", "0 5 8001 two.test.")
    look(records)
    assert [endpoint.weight for endpoint in records.current()] == [0.001, 2.0]


def test_an_srv_record_that_names_the_root_says_that_there_is_no_such_service(server: DnsServer, records: Dns) -> None:
    server.set(SRV, "SRV", "0 0 0 .")
    look(records)
    assert (found(records), records.failure) == ([], "")


def test_an_srv_host_that_cannot_be_asked_for_keeps_its_addresses(server: DnsServer, records: Dns) -> None:
    server.set(SRV, "SRV", "0 1 8001 one.test.", "0 1 8001 two.test.")
    server.set("one.test", "A", "10.0.0.1")
    server.set("two.test", "A", "10.0.0.2")
    look(records)
    server.fail("two.test", "A", "SERVFAIL")
    look(records)
    assert found(records) == ["10.0.0.1:8001", "10.0.0.2:8001"]
    assert "two.test. A" in records.failure


def test_what_does_not_fit_a_datagram_comes_over_tcp(server: DnsServer, source: Dns) -> None:
    server.set(NAME, "A", *(f"10.0.1.{number}" for number in range(100)))
    look(source)
    assert len(found(source)) == 100
    assert server.tcp == 1


def test_a_run_tells_of_the_first_answer_and_of_each_change(server: DnsServer) -> None:
    server.fail(NAME, "A", "SERVFAIL")
    server.fail(NAME, "AAAA", "SERVFAIL")
    told: list[list[str]] = []
    looks = 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            server.set(NAME, "A", "10.0.0.1")
        elif looks == 3:
            server.set(NAME, "A", "10.0.0.2")
        elif looks == 5:
            raise asyncio.CancelledError

    source = Dns(Discover(dns=f"{NAME}:8001", nameserver=server.address), sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(source.run(lambda: told.append(found(source))))
    assert told == [[], ["10.0.0.1:8001"], ["10.0.0.2:8001"]]
