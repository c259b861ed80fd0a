"""Closed-loop load by h2load (Debian's nghttp2-client), which speaks HTTP/1.1 and HTTP/2 and costs little itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from loadtests.exchange import Address, Exchange
from loadtests.load.client import LoadError
from loadtests.load.generator import Load

INSTALL = "apt-get install nghttp2-client"
_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m)\b")
_REQUESTS = re.compile(r"requests: .*? (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_BODIES = re.compile(r"traffic: .*\((\d+)\) data")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def available() -> bool:
    """True when h2load is installed."""
    return shutil.which("h2load") is not None


def closed(exchange: Exchange, address: Address, answer_bytes: int, count: int, requests: int, timeout: float) -> Load:
    """`requests` requests over `count` connections, each sending its next as soon as it has its answer.

    h2load reads the HTTP status but not `grpc-status`; a failed call has no message, so bodies must add up to
    `requests` times `answer_bytes`, the size of the answer that was verified. Raises LoadError.
    """
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(exchange.body)
        command = _command(exchange, address, body.name, count, requests)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise LoadError(f"h2load did not finish {requests} requests in {timeout:.0f} s") from None
    return parse(done.stdout + done.stderr, requests, answer_bytes)


def _command(exchange: Exchange, address: Address, body: str, count: int, requests: int) -> list[str]:
    headers = [f"--header={name}: {value}" for name, value in exchange.headers]
    protocol = [] if exchange.grpc else ["--h1"]
    sizes = [f"-c{min(count, requests)}", f"-n{requests}", "-m1", "-t1", f"--data={body}"]
    return ["h2load", *protocol, *sizes, *headers, f"http://{address}{exchange.path}"]


def parse(output: str, requests: int, answer_bytes: int) -> Load:
    """Read h2load's summary. Raises LoadError when a request failed or bodies have another size than expected."""
    counts, finished, bodies = _REQUESTS.search(output), _FINISHED.search(output), _BODIES.search(output)
    if counts is None or finished is None or bodies is None:
        raise LoadError(f"h2load gave no summary: {output[-400:]}")
    done, succeeded = int(counts[1]), int(counts[2])
    if done != requests or succeeded != requests:
        raise LoadError(f"h2load: {counts[0]}")
    if int(bodies[1]) != requests * answer_bytes:
        raise LoadError(f"answers have {int(bodies[1])} bytes in all, expected {requests} x {answer_bytes}")
    return Load(requests, float(finished[1]) * _SECONDS[finished[2]])
