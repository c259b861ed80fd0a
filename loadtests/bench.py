"""Run the benchmark: `python -m loadtests.bench`, a short one with `--quick`, parts of it with `--only`.

Writes loadtests/results/{full,quick}.json, .md and .svg; the results of parts have the names of their rows as well. The
exit status is 1 when a peer failed, and with `--check` also when an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from deploy.triton import Triton, TritonError, install
from loadtests import machine
from loadtests.exchange import Address
from loadtests.load import h2load
from loadtests.load.client import LoadError
from loadtests.peers import PEERS, Backend
from loadtests.peers.base import HOST
from loadtests.report import markdown
from loadtests.report.__main__ import write
from loadtests.results import Document
from loadtests.workloads.base import FULL, QUICK, Context, Effort, Row
from loadtests.workloads.catalogue import AIMS, SUBJECT, rows

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run, write and say the results."""
    chosen = _arguments(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    effort = QUICK if chosen.quick else FULL
    if chosen.rounds:
        effort = replace(effort, rounds=chosen.rounds, idle_rounds=chosen.rounds)
    picked = [row for row in rows(effort) if not chosen.only or row.name in chosen.only]
    try:
        document = run(picked, effort, chosen.generator)
    except (TritonError, LoadError) as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; everything that was started is stopped")
        return 130
    stem = chosen.name or ".".join([effort.name, *dict.fromkeys(chosen.only or ())])
    return _finish(document, chosen.out, stem, chosen.check)


def run(picked: Sequence[Row], effort: Effort, generator: str) -> Document:
    """Start Triton and run the rows. Raises TritonError, LoadError."""
    began = time.monotonic()
    document = _document(effort, generator)
    _say("starting Triton")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as scratch, triton(Path(scratch)) as backend:
        document.versions.insert(0, f"Triton {backend.version}")
        context = Context(backend, Path(scratch), effort, generator, _say)
        for row in picked:
            _say(f"{row.name} ({time.monotonic() - began:.0f} s)")
            document.rows.append(row.run(context))
    document.seconds = round(time.monotonic() - began, 1)
    return document


@contextmanager
def triton(scratch: Path) -> Iterator[Backend]:
    """A real Triton with the models of the benchmark."""
    install(say=_say)
    with Triton(HERE / "models", log=scratch / "triton.log") as triton:
        with urllib.request.urlopen(f"http://{triton.http_address}/v2", timeout=10) as reply:
            version = json.load(reply)["version"]
        yield Backend(Address(HOST, triton.http_port), Address(HOST, triton.grpc_port), version, triton.pid)


def _document(effort: Effort, generator: str) -> Document:
    versions = [version for kind in PEERS.values() if not kind.missing() and (version := kind.version())]
    return Document(
        effort=effort.name,
        generator=machine.h2load_version() if generator == "h2load" else "the benchmark's own generator",
        subject=SUBJECT,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=machine.facts(),
        versions=list(dict.fromkeys(versions)),
        labels={name: kind.label for name, kind in PEERS.items()},
        aims=AIMS,
    )


def _finish(document: Document, directory: Path, stem: str, check: bool) -> int:
    paths = write(document, directory, stem)
    _say(f"\n{markdown.aims(document)}\n\n{document.seconds:.0f} s; " + ", ".join(path.name for path in paths))
    for failure in document.failures:
        _say(f"failed: {failure}")
    missed = check and any(verdict.met is not True for verdict in document.verdicts())
    return 1 if document.failures or missed else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in rows(FULL)]
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description="Penstock beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a short run: shows that all works, not what it costs")
    parser.add_argument("--only", action="append", choices=names, metavar="ROW", help=f"one of {', '.join(names)}")
    parser.add_argument("--rounds", type=_positive, help="instead of the usual number")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="directory of the results")
    parser.add_argument("--name", help="of the results' files, without ending")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when an aim is missed")
    default = "h2load" if h2load.available() else "own"
    parser.add_argument("--generator", choices=["h2load", "own"], default=default, help="of the closed loop")
    chosen = parser.parse_args(arguments)
    if chosen.generator == "h2load" and not h2load.available():
        parser.error(f"h2load is not installed: {h2load.INSTALL}")
    if chosen.generator == "own":
        _say(f"load comes from this process, which is slower than h2load; to have that: {h2load.INSTALL}")
    return chosen


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected an integer ≥ 1")
    return value


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
