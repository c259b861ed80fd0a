"""Requests by curl and without it: the same answers."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator

import pytest

from deploy.demo.curl import Answer, ask
from deploy.demo.stack import DemoError


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = json.dumps({"asked": body.decode(), "who": self.headers.get("Authorization")}).encode()
        self.send_response(200 if self.headers.get("Authorization") else 401)
        self.send_header("WWW-Authenticate", 'Bearer realm="a: b"')
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(params=["curl", "urllib"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "urllib":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif not shutil.which("curl"):
        pytest.skip("there is no curl here")


@pytest.mark.parametrize(("headers", "status"), [({"Authorization": "Bearer x"}, 200), ({}, 401)])
def test_an_answer_is_taken_apart(url: str, headers: dict[str, str], status: int) -> None:
    answer = ask(url, '{"a":\n1}', headers)
    assert answer.status == status
    assert answer.headers["www-authenticate"] == 'Bearer realm="a: b"'
    assert json.loads(answer.body) == {"asked": '{"a":\n1}', "who": headers.get("Authorization")}
    assert 0 < answer.seconds < 10


def test_nobody_there_is_told() -> None:
    with pytest.raises(DemoError, match=r"curl ended with status 7|refused"):
        ask("http://127.0.0.1:1/", "", {})


def test_it_is_shown_without_what_says_nothing() -> None:
    answer = Answer(429, {"content-length": "2", "retry-after": "1"}, "{}", 0.00125)
    assert answer.shown == "HTTP/1.1 429 Too Many Requests\nretry-after: 1\n\n{}\n1.2 ms"
