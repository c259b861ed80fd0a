"""What tests of hostile clients share: one gateway with many listeners, and a client that must not notice anything."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import trustme

from deploy.triton import free_ports
from tests.support.deadline import until
from tests.support.fake_backend import FakeBackend
from tests.support.gateway import Gateway
from tests.support.raw_client import RawClient, get, post
from tests.support.rude_http2 import RudeHttp2

SCALE = int(os.environ.get("PENSTOCK_HOSTILE_SCALE", "1"))
"""How many times larger than in a quick run the attacks are."""

MIB = 1024 * 1024
SLOWEST_SECONDS = 5.0
"""No request of a bystander may take longer. A machine that is shared may well need a second for one."""

HEADER, BODY_SECONDS, IDLE, STALL, HANDSHAKE = 0.3, 0.6, 0.9, 0.5, 0.5
"""Deadlines of the hasty listener, in seconds."""

SLACK = 4.0
"""Seconds that a deadline may be late on a machine that has other things to do."""

MOST_DESCRIPTORS = 64
"""A worker without clients has fewer files open."""

LISTENERS: dict[str, dict[str, Any]] = {
    "patient": {},
    "hasty": {"deadlines": {"header": HEADER, "body": BODY_SECONDS, "idle": IDLE, "write_stall": STALL}},
    "small": {
        "limits": {
            "header_bytes": 2048,
            "headers": 16,
            "body_bytes": 65536,
            "inflated_bytes": 131072,
            "buffered_bytes": 262144,
            "pipelined": 4,
            "streams": 8,
        }
    },
    "few": {"limits": {"connections": 40, "connections_per_address": 20}},
    "tls": {
        "limits": {"connections": 10},
        "deadlines": {"handshake": HANDSHAKE, "header": HEADER, "write_stall": STALL},
    },
    "counted": {"limits": {"requests_per_connection": 3}},
}


class HostileGateway:
    """One worker process behind `LISTENERS`, in front of `backend`."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        ports = free_ports(len(LISTENERS))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(LISTENERS, ports, strict=True)}
        self.gateway = Gateway([backend.address], workers=1)
        self.authority = trustme.CA()
        certificate, key = self.gateway.directory / "server.pem", self.gateway.directory / "server.key"
        issued = self.authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        listen = [{"address": self.addresses[name], "name": name, **more} for name, more in LISTENERS.items()]
        secured = next(each for each in listen if each["name"] == "tls")
        secured["tls"] = {"certificate": str(certificate), "key": str(key)}
        self.gateway.config["listen"] = listen

    def __enter__(self) -> HostileGateway:
        self.gateway.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.stop()

    def connect(self, listener: str = "patient", receive_buffer: int = 0) -> RawClient:
        return RawClient(self.addresses[listener], receive_buffer)

    def http2(self, listener: str = "patient", settings: dict[int, int] | None = None, **options: Any) -> RudeHttp2:
        return RudeHttp2(self.addresses[listener], settings, **options)

    def tls(self, *protocols: str) -> ssl.SSLSocket:
        """A connection to the listener with TLS that offers these by ALPN."""
        trust = self.trust()
        trust.set_alpn_protocols(list(protocols))
        return trust.wrap_socket(self.connect("tls").socket, server_hostname="localhost")

    @contextmanager
    def crowd(self, count: int, listener: str = "patient") -> Iterator[list[RawClient]]:
        """So many connections, closed in the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.connect(listener)) for _ in range(count)]

    def trust(self) -> ssl.SSLContext:
        """What a client needs to trust the listener with TLS."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def metric(self, start: str) -> float:
        """The sum of the samples whose line begins so."""
        lines = self.gateway.admin("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def assert_calm(self) -> None:
        """Nothing is in flight, buffered, connected or open any more, says a report made after this is called."""
        accepted = 'penstock_connections_accepted_total{listener="patient"'
        before = self.metric(accepted)
        with self.connect() as client:
            client.ask(get())
        until(lambda: self.metric(accepted) > before)
        names = ("streams{", "buffered_bytes{", "inflight{", "endpoint_inflight{", "connections{")

        def calm() -> bool:
            left = {name: self.metric(f"penstock_{name}") for name in names}
            assert not any(left.values()), left
            return True

        until(calm, 15.0)
        until(lambda: self.backend.active == 0)
        descriptors = Path(f"/proc/{self.worker}/fd")
        until(lambda: sum(1 for _ in descriptors.iterdir()) < MOST_DESCRIPTORS)

    @property
    def worker(self) -> int:
        """The process id of the worker."""
        return worker_of(self.gateway.process.pid)

    def resident(self) -> int:
        """Bytes of memory that the worker has in RAM."""
        pages = int(Path(f"/proc/{self.worker}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def cpu_seconds(self) -> float:
        """User and system time that the worker has used."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def memory_within(self, growth: int) -> Iterator[None]:
        """The worker's memory grows by no more than `growth` bytes meanwhile, at its highest."""
        before = self.resident()
        highest, stop = [before], threading.Event()

        def watch() -> None:
            while not stop.wait(0.01):
                highest[0] = max(highest[0], self.resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
        grown = max(highest[0], self.resident()) - before
        assert grown <= growth, f"grew by {grown / MIB:.1f} MiB, {growth / MIB:.1f} allowed"

    @contextmanager
    def bystander(self, listener: str = "patient", requests: int = 5) -> Iterator[None]:
        """A client that asks all the while on a connection of its own: each answer is right, and none takes too long.

        `requests` is how many it manages at least, before and after included.
        """
        stop, failures, seconds = threading.Event(), list[str](), list[float]()

        def ask_on() -> None:
            with self.connect(listener) as client:
                while not stop.wait(0.005) or len(seconds) < requests:
                    started = time.monotonic()
                    try:
                        answer = client.ask(post())
                    except (OSError, AssertionError) as error:
                        failures.append(repr(error))
                        return
                    seconds.append(time.monotonic() - started)
                    if answer.status != 200:
                        failures.append(f"{answer.status} {answer.body!r}")

        thread = threading.Thread(target=ask_on)
        thread.start()
        until(lambda: seconds or failures)
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not failures, failures[:3]
        assert len(seconds) >= requests
        assert max(seconds) < SLOWEST_SECONDS, f"a request took {max(seconds):.2f} s"


def worker_of(supervisor: int) -> int:
    """The process id of the first worker among a supervisor's children."""
    for task in Path(f"/proc/{supervisor}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "worker" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
                return int(child)
    raise AssertionError("no worker")
