"""Facts about the machine name neither the host nor a path."""

from __future__ import annotations

import socket
from pathlib import Path

from loadtests import machine


def test_facts_say_what_matters_and_not_where() -> None:
    facts = machine.facts()
    assert int(facts["cores"]) >= 1
    assert {"processor", "memory", "kernel", "Python", "load before"} <= set(facts)
    assert socket.gethostname() not in facts.values()
    assert str(Path.home()) not in "".join(facts.values())
