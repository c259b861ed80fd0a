"""Requests as a user would type them: the command is shown, curl runs it. Without curl, urllib sends the same."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import responses

from deploy.demo.stack import HOST, DemoError
from deploy.progress import Say

TIMEOUT_S = 30
JSON = {"Content-Type": "application/json"}
_TIMED = "\n%{time_total} s"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP: its status, its headers by name in lower case, and what it took, in seconds."""

    status: int
    headers: dict[str, str]
    body: str
    seconds: float = 0.0

    @property
    def shown(self) -> str:
        """As curl -i shows it, with the time behind."""
        head = [f"HTTP/1.1 {self.status} {responses.get(self.status, '')}"]
        head += [f"{name}: {value}" for name, value in self.headers.items() if not name.startswith("content-")]
        return "\n".join([*head, "", self.body, f"{1000 * self.seconds:.1f} ms"])


def post(url: str, body: str, say: Say, *, live: bool = False) -> Iterator[str]:
    """Show the command and yield the lines of the answer, each as soon as it is there. Raises `DemoError`."""
    command = ["curl", "-sN" if live else "-s", "-m", str(TIMEOUT_S), url, "-d", body]
    say(f"$ {shlex.join(command)}")
    if shutil.which("curl"):
        yield from _curl(command)
    else:
        say("(there is no curl here; Python's urllib sends the same request)")
        yield from _urllib(url, body)


def ask(url: str, body: str, headers: Mapping[str, str]) -> Answer:
    """The answer as a whole, whatever its status. Raises `DemoError`."""
    if not shutil.which("curl"):
        return _ask_urllib(url, body, headers)
    command = ["curl", "-si", "-m", str(TIMEOUT_S), "-w", _TIMED, url, "-d", body]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=direct())
    if done.returncode:
        raise DemoError(f"curl ended with status {done.returncode}")
    return _parsed(done.stdout)


def direct() -> dict[str, str]:
    """The environment without a proxy for this machine."""
    return os.environ | {"no_proxy": HOST, "NO_PROXY": HOST}


def _parsed(text: str) -> Answer:
    """What curl -i wrote, with the time behind. Text mode has made each CRLF a line end."""
    head, _, rest = text.partition("\n\n")
    status, *fields = head.splitlines()
    body, _, seconds = rest.rpartition("\n")
    named = (field.partition(":") for field in fields)
    return Answer(
        int(status.split()[1]), {name.lower(): value.strip() for name, _, value in named}, body, float(seconds[:-2])
    )


def _curl(command: list[str]) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=direct()) as process:
        try:
            for line in process.stdout or ():
                yield line.rstrip("\n")
            if process.wait():
                raise DemoError(f"curl ended with status {process.returncode}")
        finally:
            process.kill()


def _urllib(url: str, body: str) -> Iterator[str]:
    try:
        with _OPENER.open(urllib.request.Request(url, body.encode(), JSON), timeout=TIMEOUT_S) as answer:
            for line in answer:
                yield line.decode().rstrip("\n")
    except urllib.error.HTTPError as error:
        yield error.read().decode()
    except OSError as error:
        raise DemoError(f"{url}: {error}") from error


def _ask_urllib(url: str, body: str, headers: Mapping[str, str]) -> Answer:
    began = time.perf_counter()
    request = urllib.request.Request(url, body.encode(), {**JSON, **headers})
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            status, fields, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, fields, text = error.code, error.headers, error.read().decode()
    except OSError as error:
        raise DemoError(f"{url}: {error}") from error
    return Answer(status, _named(fields), text, time.perf_counter() - began)


def _named(fields: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in fields.items()}
