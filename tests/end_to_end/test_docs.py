"""Every command that the documentation shows is run, or is a target of make that exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.triton import free_ports
from tests.support.deadline import until
from tests.support.triton import start_triton

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "loadtests" / "README.md", *(ROOT / "docs").glob("*.md")]
TEXT = {page.relative_to(ROOT): page.read_text() for page in PAGES}
COMMANDS = [
    (str(page), line.split("#")[0].strip())
    for page, text in TEXT.items()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if line.split("#")[0].strip()
]
MADE = sorted({(str(page), target) for page, text in TEXT.items() for target in re.findall(r"`make ([a-z-]+)`", text)})
INSTALLS = {"pip install .", "PENSTOCK_COMPILE=1 pip install ."}  # `make install` and `make compile` did it
FILE = "deploy/examples/minimal.yaml"
PENSTOCK = str(Path(sys.executable).with_name("penstock"))


def run(command: str, **substitutes: str) -> subprocess.CompletedProcess[str]:
    """The command with other addresses than the documented ones, which may be taken here."""
    for documented, used in substitutes.items():
        command = command.replace(documented, used)
    return subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, timeout=60)


@contextmanager
def serving(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """`penstock serve` with the documented file, but for its ports; gives those of clients and of admin."""
    port, admin = map(str, free_ports(2))
    file = tmp_path / "gateway.yaml"
    text = (ROOT / FILE).read_text().replace("0.0.0.0:8080", f"127.0.0.1:{port}")
    file.write_text(
        text.replace("127.0.0.1:8001", start_triton().grpc_address) + f"\nadmin: {{address: 127.0.0.1:{admin}}}\n"
    )
    process = subprocess.Popen([PENSTOCK, "serve", file], stderr=subprocess.DEVNULL)
    try:
        until(lambda: run(f"curl -sf 127.0.0.1:{admin}/readyz").returncode == 0, 30)
        yield port, admin
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Path]:
    """A gateway that keeps API keys, and its file, which the documentation calls gateway.yaml."""
    port, admin = map(str, free_ports(2))
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"listen: [{{address: '127.0.0.1:{port}'}}]\nadmin: {{address: '127.0.0.1:{admin}'}}\nstate_directory: state\n"
        "workers: 1\npools: {p: {endpoints: ['127.0.0.1:1']}}\n"
        "routes: [{match: {model: '*'}, to: p, policies: [{kind: api_key}, {kind: cache}]}]\n"
    )
    process = subprocess.Popen([PENSTOCK, "serve", file], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until(lambda: run(f"{PENSTOCK} keys list {file}").returncode == 0, 30)
        yield file
    finally:
        process.terminate()
        process.wait(30)


def program(command: str) -> str:
    return command.split()[0]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_each_command_is_known_here(page: str, command: str) -> None:
    assert program(command) in {"make", "curl", "penstock"} or command in INSTALLS, f"{page}: run {command!r} in a test"


@pytest.mark.parametrize(
    ("page", "target"), [*MADE, *((page, each.split()[1]) for page, each in COMMANDS if program(each) == "make")]
)
def test_targets_of_make_exist(page: str, target: str) -> None:
    assert run(f"make -n {target}").returncode == 0, f"{page}: make {target}"


@pytest.mark.parametrize("subcommand", ["check", "explain"])
def test_what_needs_no_gateway(subcommand: str) -> None:
    checks = [command for _, command in COMMANDS if command.startswith(f"penstock {subcommand}")]
    for command in checks:
        result = run(command.replace("penstock", PENSTOCK, 1))
        assert result.returncode == 0, result.stderr
    assert checks


def test_keys_and_cache(keyed: Path) -> None:
    commands = [command for _, command in COMMANDS if re.match("penstock (keys|cache) ", command)]
    written, made = re.search(r"\b[0-9A-Za-z]{12}\b", "\n".join(commands)), ""
    assert written is not None
    for command in commands:
        command = command.replace(written[0], made).replace("penstock", PENSTOCK, 1)
        result = run(command, **{" gateway.yaml": f" {keyed}"})
        assert result.returncode == 0, f"{command}: {result.stderr}"
        made = (re.findall(r"^id +(\S+)$", result.stdout, re.MULTILINE) or [made])[0]
    assert {command.split()[2] for command in commands} >= {"create", "list", "rotate", "revoke"}


def test_serve_and_curl(tmp_path: Path) -> None:
    assert [each for _, each in COMMANDS if each.startswith("penstock serve")] == [f"penstock serve {FILE}"]
    questions = [command for _, command in COMMANDS if program(command) == "curl"]
    with serving(tmp_path) as (port, admin):
        for command in questions:
            result = run(
                command.replace("curl", "curl -sSf", 1),
                **{
                    "models/add_sub": "models/simple",
                    "localhost:8080": f"localhost:{port}",
                    "localhost:9901": f"localhost:{admin}",
                },
            )
            assert result.returncode == 0, f"{command}: {result.stderr}"
    assert questions
