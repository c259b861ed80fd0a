"""A modelled scrape finds service times and the work of others, and publishes both late."""

from __future__ import annotations

import pytest

from loadtests.simulate.events import Events
from loadtests.simulate.gateway import Gateway
from loadtests.simulate.triton import Job, Server
from routing.call import Call
from transcoding.methods import BY_NAME


def test_a_scrape_finds_who_else_is_there_and_what_a_request_costs() -> None:
    events = Events()
    server = Server(events)
    gateway = Gateway(events, [server], ["m"], seed=1)

    def send() -> None:
        if events.now < 20:
            server.submit(Job("m", 0.1, lambda: None))
            events.after(0.2, send)

    def scrape() -> None:
        if events.now < 20:
            gateway.scrape(0.05, counters=True)
            events.after(0.15, scrape)

    events.at(0.0, send)
    events.at(0.0, scrape)
    while events.step():
        pass
    endpoint = gateway.endpoints[0]
    slot = endpoint.inventory["m"]["1"].slot
    assert gateway.board.service(slot) == pytest.approx(0.1)
    assert gateway.board.foreign(endpoint.slot) == pytest.approx(0.05, rel=0.2), "busy half of the time"
    assert 0.04 < events.now - gateway.board.at(endpoint.slot) < 0.3


def test_own_requests_are_not_others() -> None:
    events = Events()
    server = Server(events)
    gateway = Gateway(events, [server], ["m"], seed=1)
    endpoint = gateway.endpoints[0]
    call = Call(BY_NAME["ModelInfer"], "m", "1", ())

    def send() -> None:
        if events.now < 20:
            lease = endpoint.take(call)
            server.submit(Job("m", 0.1, lease.release))
            events.after(0.2, send)

    def scrape() -> None:
        if events.now < 20:
            gateway.scrape(0.05, counters=True)
            events.after(0.13, scrape)

    events.at(0.0, send)
    events.at(0.0, scrape)
    while events.step():
        pass
    assert gateway.board.foreign(endpoint.slot) < 0.015
    assert endpoint.in_flight == 0
