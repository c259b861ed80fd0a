"""Peers as processes: started, waited for, stopped, and nothing left when one fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from loadtests.exchange import Address
from loadtests.peers.base import Backend, PeerError, ProcessPeer, accepts, get_status

BACKEND = Backend(Address("127.0.0.1", 1), Address("127.0.0.1", 2), "2.51.0", os.getpid())
SERVE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Small(ProcessPeer):
    name = "small"
    label = "Small"
    dialects = ("oip_json",)
    code = SERVE

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code, str(self.address.port)]


class Broken(Small):
    code = "import sys; sys.exit('no licence')"


def test_a_peer_serves_while_entered(tmp_path: Path) -> None:
    with Small(BACKEND, tmp_path) as peer:
        assert get_status(peer.address, "/v2/health/live") == 200
        [pid] = peer.pids
    assert not accepts(peer.address)
    assert peer.pids == ()
    assert not Path(f"/proc/{pid}").exists()


def test_a_peer_that_ends_says_why(tmp_path: Path) -> None:
    peer = Broken(BACKEND, tmp_path)
    with pytest.raises(PeerError, match="no licence"), peer:
        pass
    assert peer.pids == ()


def test_nobody_answers_on_a_free_port(tmp_path: Path) -> None:
    assert get_status(Small(BACKEND, tmp_path).address, "/") is None
