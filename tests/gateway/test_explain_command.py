"""`penstock explain` as people run it: from a file, and from the admin port of a gateway that runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from gateway import explain_command
from gateway.cli import main
from gateway.lifeline import Exit
from tests.support.explained import FILE
from tests.support.gateway import Gateway
from tests.support.index_server import IndexServer


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE)
    return str(path)


def test_a_file_is_explained_without_a_socket(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert main(["explain", file, "--model", "resnet50", "-H", "x-model-version: 2"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "route       vision (routes[0], model: resnet*)"
    assert "rule        rules[1]: header x-model-version equals '2': holds" in lines
    assert "decided by  rule rules[1]" in lines
    assert "asks for    resnet50, version 2 (the configuration says)" in lines
    assert any(line.startswith("policy 1    retry careful (attempts: 3, ") for line in lines)
    assert "pool        a, picks by expected_wait" in lines
    assert lines[-1] == "endpoints   not looked at: --live ADMIN asks a running gateway"


def test_programs_get_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", file, "--model", "resnet50", "-H", "x-user: ann", "-o", "json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert told["decided_by"]["key"] == "ann"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "m"], "expected FILE, or --live ADMIN"),
        (["FILE", "--model", "m", "-H", "nothing"], "header 'nothing': expected NAME: VALUE"),
        (["--model", "m", "--live", "127.0.0.1:1"], "admin port 127.0.0.1:1: "),
        (["--model", "m", "--live", "unix:/no/such"], "admin port unix:/no/such: "),
    ],
)
def test_mistakes_are_told(arguments: list[str], text: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *(file if each == "FILE" else each for each in arguments)]) != Exit.OK
    out, err = capsys.readouterr()
    assert (out, text in err) == ("", True)


def test_a_running_gateway_tells_of_its_endpoints_and_whether_the_file_differs(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = IndexServer()
    server.start()
    try:
        with Gateway([server.address, "127.0.0.1:1"]) as gateway:
            live = ["--model", "m", "--live", gateway.admin_address]
            assert main(["explain", *live]) == Exit.OK
            out = capsys.readouterr().out
            assert f"candidate   {server.address}: expected wait " in out
            assert "no          127.0.0.1:1: not live: " in out
            assert main(["explain", str(gateway.directory / "gateway.yaml"), *live]) == Exit.OK
            assert "note" not in capsys.readouterr().out
            assert main(["explain", file, *live]) == Exit.OK
            assert f"note        {file} decides otherwise than the running gateway" in capsys.readouterr().out
            status, body = gateway.admin("/v1/explain?model=m&api=soap")
            assert (status, json.loads(body)) == (400, {"error": "api: expected one of rest, grpc"})
            assert gateway.admin("/v1/explain")[0] == 400
            assert gateway.admin("/v1/explain?model=m&modle=x")[0] == 400
    finally:
        server.stop()


def test_what_chance_decides_is_no_difference() -> None:
    one = {"route": 1, "policies": [], "decided_by": {"by_chance": True, "bucket": 1}, "pool": "a", "asks_for": None}
    other = {**one, "decided_by": {"by_chance": True, "bucket": 2}, "pool": "b"}
    assert not explain_command.differs(one, other)
    assert explain_command.differs(one, {**other, "route": 2})
