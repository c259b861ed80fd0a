"""Run the benchmark: `python -m loadtests.routing`, a short one with `--quick`, parts of it with `--only`.

Writes loadtests/results/routing.json, .md and .svg, or quick.routing.*. The exit status is 1 when a peer failed, and
with `--check` also when an aim is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from deploy.triton import TritonError, install
from loadtests import machine
from loadtests.load.client import LoadError
from loadtests.peers import PeerError
from loadtests.report import markdown
from loadtests.report.__main__ import write
from loadtests.results import Document
from loadtests.routing.fleet import Endpoint, fleet
from loadtests.routing.peers import BALANCERS, Balancer
from loadtests.routing.rounds import FULL, QUICK, Contest, Effort
from loadtests.routing.scenarios import AIMS, LOAD, OTHERS_SHARE, SCENARIOS, SERVICE, SUBJECT, Scenario

STEMS = {"full": "routing", "quick": "quick.routing"}
RESULTS = Path(__file__).parent.parent / "results"
METHOD = (
    "Every proxy has two workers and stands before the same four Tritons on the same machine. Their model sleeps for "
    f"{SERVICE * 1e3:g} ms, one request at a time, so that queues decide and not how the cores are shared. Within a "
    "round all peers get their requests at the same moments, one peer after the other; ratios are taken within rounds: "
    "trust ratios, not digits."
)
LOAD_TEXT = (
    f"open loop over gRPC, Poisson arrivals at {LOAD:.0%} of the capacity that is left, latencies from the moment "
    f"that a request was due; the other client asks one Triton directly for {OTHERS_SHARE:.0%} of its capacity"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run, write and say the results."""
    chosen = _arguments(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    effort = QUICK if chosen.quick else FULL
    if chosen.rounds:
        effort = replace(effort, rounds=chosen.rounds)
    picked = [each for each in SCENARIOS if not chosen.only or each.name in chosen.only]
    try:
        document = run(picked, effort)
    except (TritonError, PeerError, LoadError) as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; everything that was started is stopped")
        return 130
    return _finish(document, chosen.out, chosen.check)


def run(picked: Sequence[Scenario], effort: Effort) -> Document:
    """Start the Tritons and the peers and let these contest. Raises TritonError, PeerError."""
    began = time.monotonic()
    document = _document(effort)
    _say("starting the Tritons and the proxies")
    install(say=_say)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as scratch, fleet(Path(scratch)) as endpoints:
        document.versions.insert(0, f"Triton {endpoints[0].backend.version}")
        with _peers(endpoints, Path(scratch)) as peers:
            for scenario in picked:
                _say(f"{scenario.name} ({time.monotonic() - began:.0f} s)")
                document.rows.append(Contest(scenario, peers, endpoints, effort, _say).run())
    document.seconds = round(time.monotonic() - began, 1)
    return document


@contextmanager
def _peers(endpoints: Sequence[Endpoint], scratch: Path) -> Iterator[list[Balancer]]:
    """All that can run here, started. Raises PeerError."""
    with ExitStack() as stack:
        yield [stack.enter_context(kind(endpoints, scratch)) for kind in BALANCERS if not _missing(kind)]


def _missing(kind: type[Balancer]) -> bool:
    reason = kind.missing()
    if reason:
        _say(f"  {kind.name}: skipped, {reason}")
    return bool(reason)


def _document(effort: Effort) -> Document:
    versions = [version for kind in BALANCERS if not kind.missing() and (version := kind.version())]
    return Document(
        effort=effort.name,
        generator="the benchmark's own generator",
        subject=SUBJECT,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=machine.facts(),
        versions=list(dict.fromkeys(versions)),
        labels={kind.name: kind.label for kind in BALANCERS},
        aims=AIMS,
        title="Routing benchmark",
        method=METHOD,
        load=LOAD_TEXT,
    )


def _finish(document: Document, directory: Path, check: bool) -> int:
    paths = write(document, directory, STEMS[document.effort])
    _say(f"\n{markdown.aims(document)}\n\n{document.seconds:.0f} s; " + ", ".join(path.name for path in paths))
    for failure in document.failures:
        _say(f"failed: {failure}")
    missed = check and any(verdict.met is not True for verdict in document.verdicts())
    return 1 if document.failures or missed else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [each.name for each in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.routing", description="Penstock's choice beside Envoy's."
    )
    parser.add_argument("--quick", action="store_true", help="a short run: shows that all works, not how well")
    parser.add_argument("--only", action="append", choices=names, metavar="SCENARIO", help=f"one of {', '.join(names)}")
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
