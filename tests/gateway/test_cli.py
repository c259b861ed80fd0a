"""The command line, in this process; `serve` itself is tested by the processes it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from config.schema import Config
from gateway import cli
from gateway.cli import CommandError, Parts, main
from gateway.lifeline import Exit
from gateway.supervisor import environment
from tests.support.fake_gateway import LineDataPlane, load_json
from tests.support.gateway_process import a_config

PARTS = Parts(load_json, LineDataPlane)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.json"
    path.write_bytes(msgspec.json.encode(a_config("a:1", "b:1", listen="127.0.0.1:1")))
    return path


def test_check_counts_what_a_good_file_has(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)], PARTS) == Exit.OK
    assert capsys.readouterr() == (f"{file}: ok (1 listener, 1 pool, 1 route)\n", "")
    config = load_json(str(file))
    more = msgspec.structs.replace(config, listen=config.listen * 2)
    file.write_bytes(msgspec.json.encode(more))
    assert main(["check", str(file)], PARTS) == Exit.OK
    assert capsys.readouterr().out == f"{file}: ok (2 listeners, 1 pool, 1 route)\n"


@pytest.mark.parametrize("command", ["check", "serve"])
def test_all_mistakes_of_a_bad_file_are_told(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"listen": 3}')
    assert main([command, str(path)], PARTS) == Exit.BAD_CONFIG
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert all(line.startswith(f"{path}: ") for line in err.splitlines())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"], PARTS) == Exit.OK
    name, number = capsys.readouterr().out.split()
    assert name == "penstock"
    assert number[0].isdigit()


@pytest.mark.parametrize("command", [[], ["check"], ["serve"], ["version"]])
def test_help_has_examples_and_hides_the_children(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"], PARTS)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "\nexamples:\n  penstock " in text
    assert "--run-directory" not in text
    assert "worker," not in text


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["serve", "x", "--workers", "-1"], ["serve", "x", "--workers", "two"], ["nonsense"]]
)
def test_bad_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, PARTS)
    assert ended.value.code == 2
    assert "usage: penstock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("in_file", "argument", "expected"),
    [(3, None, 3), ("auto", None, "cores"), (3, "auto", "cores"), (3, "2", 2), ("auto", "5", 5)],
)
def test_workers_by_argument_then_file(
    in_file: object, argument: str | None, expected: object, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def supervise(config: Config, workers: int, log_level: str, parts: Parts) -> int:
        seen.append(workers)
        return Exit.OK

    monkeypatch.setattr(cli, "_supervise", supervise)
    monkeypatch.setattr("gateway.logs.setup", lambda *arguments: None)
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(load_json(str(file)), workers=in_file)))
    main(["serve", str(file), *(["--workers", argument] if argument else [])], PARTS)
    assert seen == [len(os.sched_getaffinity(0)) if expected == "cores" else expected]


def test_a_state_directory_that_cannot_be_made_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.logs.setup", lambda *arguments: None)
    config = msgspec.structs.replace(load_json(str(file)), state_directory=str(file / "below a file"))
    file.write_bytes(msgspec.json.encode(config))
    assert main(["serve", str(file)], PARTS) == Exit.FAILED
    assert capsys.readouterr().err.startswith("state_directory: ")


def test_a_command_error_has_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    def load(path: str, warn: object = None) -> Config:
        raise CommandError("no", 7)

    assert main(["check", "x"], Parts(load)) == 7
    assert capsys.readouterr().err == "no\n"


def test_check_and_the_supervisor_load_no_grpc_and_no_server() -> None:
    code = (
        "import sys, gateway.cli, gateway.supervisor;"
        "print([m for m in ('grpc', 'aiohttp', 'uvloop', 'numpy', 'prometheus_client') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "[]\n"


def test_check_tells_of_unsound_orders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "listen: [{address: '127.0.0.1:1', apis: [inference]}]\npools: {p: {endpoints: ['a:1']}}\n"
        "routes:\n  - {match: {model: a}, to: p, policies: [{kind: authorize, allow: [{}]}]}\n"
    )
    assert main(["check", str(path)]) == Exit.OK
    out, err = capsys.readouterr()
    assert out == f"{path}: ok (1 listener, 1 pool, 1 route)\n"
    assert err.startswith(f"warning: {path}:4:43: routes[0].policies[0]: authorize stands without")
    assert main(["check", "--strict", str(path)]) == Exit.FAILED
