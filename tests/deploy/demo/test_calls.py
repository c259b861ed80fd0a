"""What the demo says about answers; the calls themselves run in `test_main.py`."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from deploy.demo import calls
from deploy.demo.calls import DELAY_MS, TOKENS, Streamed, Verdict, problems
from deploy.demo.picture import read_png
from deploy.demo.stack import DemoError

DIGIT = calls.picture()[1]
WRONG = (DIGIT + 1) % 10
VERDICTS = {1: Verdict(WRONG, [0.1] * 10), 2: Verdict(DIGIT, [0.1] * 10)}
SCORES = {1: (322, 360), 2: (357, 360)}
STREAMED = Streamed([" a"] * TOKENS, 0.1, 0.1 + TOKENS * DELAY_MS / 1000)


def test_right_answers_have_no_problems() -> None:
    assert list(problems(VERDICTS, SCORES, STREAMED)) == []


def test_each_wrong_answer_is_a_problem() -> None:
    swapped = {1: VERDICTS[2], 2: VERDICTS[1]}
    short = {**VERDICTS, 1: Verdict(WRONG, [0.5])}
    cases = [
        list(problems(swapped, SCORES, STREAMED)),
        list(problems(short, SCORES, STREAMED)),
        list(problems(VERDICTS, SCORES | {2: (322, 360)}, STREAMED)),
        list(problems(VERDICTS, {1: SCORES[1]}, STREAMED)),
        list(problems(VERDICTS, SCORES, replace(STREAMED, tokens=[" a"]))),
        list(problems(VERDICTS, SCORES, replace(STREAMED, last_s=0.2))),
    ]
    assert [len(found) for found in cases] == [1] * 6


def test_the_picture_is_a_digit() -> None:
    path, digit = calls.picture()
    assert 0 <= digit <= 9
    assert read_png(path).shape == (8, 8)


class _Handler(http.server.BaseHTTPRequestHandler):
    answer = (200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(params=["curl", "urllib"])
def lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    if request.param == "urllib":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif not shutil.which("curl"):
        pytest.skip("there is no curl here")
    return []


def answer(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> None:
    monkeypatch.setattr(_Handler, "answer", (status, body))


def test_classify_shows_the_command_the_answer_and_the_digit(
    server: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [{"name": "label", "data": [DIGIT]}, {"name": "probabilities", "data": [0.0] * 9 + [1.0]}]
    answer(monkeypatch, 200, json.dumps({"outputs": outputs}).encode())
    verdicts = calls.classify(server, lines.append)
    assert verdicts == {version: Verdict(DIGIT, [0.0] * 9 + [1.0]) for version in (1, 2)}
    shown = "\n".join(lines)
    for version in (1, 2):
        assert f"$ curl -s -m 30 http://{server}/v2/models/digits/versions/{version}/infer -d '" in shown
    assert '{"outputs": [{"name": "label"' in shown
    assert f"a handwritten {DIGIT}" in shown
    assert "100.0% ◄" in shown


def test_an_error_is_told_as_the_server_said_it(server: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 503, b'{"error":"no endpoint"}')
    with pytest.raises(DemoError, match=r'got: {"error":"no endpoint"}$'):
        calls.classify(server, lines.append)


def test_a_stream_is_written_token_by_token(server: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 200, b'data: {"text_output":" runs"}\n\ndata: {"text_output":"."}\n\n')
    written: list[str] = []
    streamed = calls.stream(server, lines.append, written.append)
    assert streamed.tokens == [" runs", "."]
    assert 0 < streamed.first_s <= streamed.last_s
    assert written == [f"{calls.PROMPT} runs", ".", "\n"]


def test_an_error_in_the_stream_is_told(server: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 200, b'data: {"error":"busy"}\n\n')
    with pytest.raises(DemoError, match="busy"):
        calls.stream(server, lines.append, lines.append)


def test_an_empty_stream_is_told(server: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 200, b"")
    with pytest.raises(DemoError, match="without a token"):
        calls.stream(server, lines.append, lines.append)


def test_a_server_that_is_not_there_is_told(lines: list[str]) -> None:
    with pytest.raises(DemoError, match=r"curl ended with status 7|refused"):
        calls.classify("127.0.0.1:1", lines.append)


def test_a_failing_grpc_call_is_told() -> None:
    with pytest.raises(DemoError, match="the gRPC call failed"):
        calls.compare("127.0.0.1:1", lambda line: None)


def test_served_sums_over_models(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        f'nv_inference_request_success{{model="{name}",version="1"}} {count}' for name, count in (("a", 3), ("b", 4))
    ]
    answer(monkeypatch, 200, "\n".join(rows).encode())
    assert calls.served(server) == 7
