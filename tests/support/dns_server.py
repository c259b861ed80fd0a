"""A real name server on the loopback, over UDP and TCP, whose zone a test changes as it goes.

with DnsServer() as server:
    server.set("triton.test", "A", "127.0.0.1", ttl=5)
    server.fail("triton.test", "AAAA", "SERVFAIL")
    resolver asks server.address
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

UDP_BYTES = 512


class DnsServer:
    """`asked` counts questions by (name, type); `tcp` those that came over TCP. What is not set is NXDOMAIN, unless the
    name has records of another type."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.tcp = 0
        self._zone: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self._udp, self._listener = pair_of_sockets()
        self.port = self._udp.getsockname()[1]
        self._ended = False
        self._threads = [threading.Thread(target=each) for each in (self._serve_udp, self._serve_tcp)]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def set(self, name: str, kind: str, *records: str, ttl: int = 5) -> None:
        """These records and no others; none leaves the name without."""
        self._failures.pop((name, kind), None)
        self._zone[name, kind] = ttl, records

    def remove(self, name: str) -> None:
        """NXDOMAIN from now on."""
        for key in [key for key in self._zone if key[0] == name]:
            del self._zone[key]

    def fail(self, name: str, kind: str, code: str) -> None:
        """Answer so until it is `set`; "silence" is no answer."""
        self._failures[name, kind] = code

    def __enter__(self) -> DnsServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._listener.close()

    def _serve_udp(self) -> None:
        while not self._ended:
            query, client = self._udp.recvfrom(4096)
            if self._ended:
                return
            reply = self._answer(query)
            if reply is None:
                continue
            wire = reply.to_wire()
            if len(wire) > UDP_BYTES:
                reply.answer.clear()
                reply.flags |= dns.flags.TC
                wire = reply.to_wire()
            self._udp.sendto(wire, client)

    def _serve_tcp(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(5)
                (size,) = struct.unpack("!H", client.recv(2, socket.MSG_WAITALL))
                self.tcp += 1
                reply = self._answer(client.recv(size, socket.MSG_WAITALL))
                if reply is not None:
                    wire = reply.to_wire()
                    client.sendall(struct.pack("!H", len(wire)) + wire)

    def _answer(self, query: bytes) -> dns.message.Message | None:
        message = dns.message.from_wire(query)
        (question,) = message.question
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        failure = self._failures.get((name, kind))
        if failure == "silence":
            return None
        reply = dns.message.make_response(message)
        reply.flags |= dns.flags.RA
        if failure is not None:
            reply.set_rcode(dns.rcode.from_text(failure))
        elif (found := self._zone.get((name, kind))) is not None and found[1]:
            reply.answer.append(dns.rrset.from_text_list(question.name, found[0], "IN", kind, list(found[1])))
        elif not any(key[0] == name for key in self._zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply


def pair_of_sockets() -> tuple[socket.socket, socket.socket]:
    """One for datagrams and one that listens, on the same port."""
    for _ in range(50):
        udp, listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.bind(("127.0.0.1", 0))
        try:
            listener.bind(udp.getsockname())
        except OSError:  # somebody else's
            udp.close()
            listener.close()
            continue
        listener.listen()
        return udp, listener
    raise OSError("no port that is free for UDP and TCP")
