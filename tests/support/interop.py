"""Other people's HTTP/2 programs as clients of a gateway: curl, nghttp and h2load, and what they tell of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtests.load import h2load as h2load_summary

PACKAGES = {"curl": "curl", "nghttp": "nghttp2-client", "h2load": "nghttp2-client"}
TIMEOUT = 30.0
_FRAME = re.compile(r"(send|recv) (\w+) frame <length=(\d+), flags=0x(\w\w), stream_id=(\d+)>\n((?: {10}.*\n)*)")
_STATUS = re.compile(r"recv \(stream_id=(\d+)\) :status: (\d+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where the program is not installed, and says how to install it."""
    reason = f"{program} is not installed: apt-get install {PACKAGES[program]}"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    output = _COLOUR.sub("", done.stdout.decode("utf-8", "replace"))
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr.decode()} {output[-2000:]}"
    return output


# curl -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transfer:
    """One transfer of curl. `head` holds the response's heads and trailers as they came, of all transfers of the run;
    `connections` is how many it opened."""

    status: int
    version: str
    connections: int
    uploaded: int
    body: bytes
    head: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def curl(urls: str | Sequence[str], *options: str) -> list[Transfer]:
    """Fetch each URL by one curl, in the order given. Fails unless each transfer ends well, whatever its status."""
    urls = [urls] if isinstance(urls, str) else urls
    with tempfile.TemporaryDirectory() as place:
        head = Path(place, "head")
        files = [str(Path(place, f"body{number}")) for number in range(len(urls))]
        targets = [word for url, file in zip(urls, files, strict=True) for word in ("-o", file, url)]
        told = ["-sS", "--no-progress-meter", "-w", "%{json}\n", "-D", str(head), "--max-time", str(TIMEOUT)]
        output = _run(["curl", *told, *options, *targets])
        runs = sorted(map(json.loads, output.splitlines()), key=lambda run: run["urlnum"])
        assert len(runs) == len(urls)
        return [_transfer(run, Path(file), head.read_bytes().decode()) for run, file in zip(runs, files, strict=True)]


def curl_version() -> tuple[int, ...]:
    """As `curl --version` says."""
    return tuple(map(int, _run(["curl", "--version"]).split()[1].split(".")[:2]))


def _transfer(run: dict[str, Any], file: Path, head: str) -> Transfer:
    body = b"" if run["method"] == "HEAD" else file.read_bytes()  # where curl writes the head of HEAD
    return Transfer(run["response_code"], run["http_version"], run["num_connects"], run["size_upload"], body, head)


# nghttp ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A frame as nghttp tells of it: its direction, `send` or `recv`, and its payload in words."""

    direction: str
    kind: str
    length: int
    flags: int
    stream: int
    text: str


@dataclass(frozen=True)
class Conversation:
    """The frames of one run of nghttp in their order, and the status of each stream."""

    frames: tuple[Frame, ...]
    statuses: dict[int, int]

    def sent(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if (frame.direction, frame.kind) == ("send", kind)]

    def received(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if (frame.direction, frame.kind) == ("recv", kind)]

    def bodies(self) -> dict[int, int]:
        """Bytes of DATA that came, by stream."""
        sizes: dict[int, int] = {}
        for frame in self.received("DATA"):
            sizes[frame.stream] = sizes.get(frame.stream, 0) + frame.length
        return sizes


def nghttp(url: str, *options: str) -> Conversation:
    """Run nghttp and read what it says of each frame. `finish_nghttp` is for one that was started by `start_nghttp`."""
    return finish_nghttp(start_nghttp(url, *options))


def start_nghttp(url: str, *options: str) -> subprocess.Popen[str]:
    """nghttp, running."""
    return subprocess.Popen(["nghttp", "-nv", *options, url], stdout=subprocess.PIPE, text=True)


def finish_nghttp(process: subprocess.Popen[str]) -> Conversation:
    """What it told until it ended."""
    try:
        output = _COLOUR.sub("", process.communicate(timeout=TIMEOUT)[0])
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"nghttp did not end: {process.communicate()[0][-2000:]}") from None
    assert process.returncode == 0, output[-2000:]
    found = _FRAME.findall(output)
    assert found, output
    frames = [
        Frame(way, kind, int(size), int(flags, 16), int(sid), text) for way, kind, size, flags, sid, text in found
    ]
    return Conversation(tuple(frames), {int(stream): int(status) for stream, status in _STATUS.findall(output)})


def _frame(direction: str, kind: str, length: str, flags: str, stream: str, text: str) -> Frame:
    return Frame(direction, kind, int(length), int(flags, 16), int(stream), text)


# h2load ---------------------------------------------------------------------------------------------------------------


def h2load(url: str, requests: int, answer_bytes: int, *options: str, body: bytes = b"") -> None:
    """All requests succeed, each with an answer of this size. A body makes them POSTs."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(body)
        data = [f"--data={file.name}"] if body else []
        output = _run(["h2load", f"-n{requests}", *data, *options, url])
    h2load_summary.parse(output, requests, answer_bytes)
