"""Run the benchmark of the cache: `python -m loadtests.cache`, a short one with `--quick`, parts of it with `--only`.

Writes loadtests/results/cache.json, .md and .svg, or quick.cache.*. The exit status is 1 when a peer failed, and with
`--check` also when an aim is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from deploy.triton import TritonError
from loadtests import machine
from loadtests.bench import triton
from loadtests.cache.rows import AIMS, LABELS, SUBJECT, rows
from loadtests.load import h2load
from loadtests.load.client import LoadError
from loadtests.peers import PEERS
from loadtests.report import markdown
from loadtests.report.__main__ import write
from loadtests.results import Document
from loadtests.workloads.base import FULL, QUICK, Context, Effort, Row

STEMS = {"full": "cache", "quick": "quick.cache"}
RESULTS = Path(__file__).parent.parent / "results"
METHOD = (
    "Every proxy has one worker, that is one core, and stands before the same Triton on the same machine. The same "
    "request comes again and again: from the second time on it is a hit where there is a cache. Peers take turns "
    "within a round, and ratios are taken within rounds: trust ratios, not digits."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run, write and say the results."""
    chosen = _arguments(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    effort = QUICK if chosen.quick else FULL
    if chosen.rounds:
        effort = replace(effort, rounds=chosen.rounds)
    picked = [row for row in rows() if not chosen.only or row.name in chosen.only]
    try:
        document = run(picked, effort)
    except (TritonError, LoadError) as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; everything that was started is stopped")
        return 130
    return _finish(document, chosen.out, chosen.check)


def run(picked: Sequence[Row], effort: Effort) -> Document:
    """Start Triton and run the rows. Raises TritonError, LoadError."""
    began = time.monotonic()
    generator = "h2load" if h2load.available() else "own"
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


def _document(effort: Effort, generator: str) -> Document:
    kinds = [PEERS[name] for name in LABELS if name in PEERS]
    versions = [version for kind in kinds if not kind.missing() and (version := kind.version())]
    return Document(
        effort=effort.name,
        generator=machine.h2load_version() if generator == "h2load" else "the benchmark's own generator",
        subject=SUBJECT,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=machine.facts(),
        versions=list(dict.fromkeys(versions)),
        labels=LABELS,
        aims=AIMS,
        title="Cache benchmark",
        method=METHOD,
    )


def _finish(document: Document, directory: Path, check: bool) -> int:
    paths = write(document, directory, STEMS[document.effort])
    _say(f"\n{markdown.aims(document)}\n\n{document.seconds:.0f} s; " + ", ".join(path.name for path in paths))
    for failure in document.failures:
        _say(f"failed: {failure}")
    missed = check and any(verdict.met is not True for verdict in document.verdicts())
    return 1 if document.failures or missed else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in rows()]
    parser = argparse.ArgumentParser(prog="python -m loadtests.cache", description="Cached answers beside forwarding.")
    parser.add_argument("--quick", action="store_true", help="a short run: shows that all works, not what it costs")
    parser.add_argument("--only", action="append", choices=names, metavar="ROW", help=f"one of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), metavar="N", help="instead of the usual number")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when an aim is missed")
    return parser.parse_args(arguments)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
