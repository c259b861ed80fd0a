"""Compare choices on paper: `python -m loadtests.simulate [--quick] [--scenario NAME …] [--out FOLDER]`.

Prints tables and writes simulate.json, simulate.md and simulate.svg. The same arguments give the same figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from loadtests.simulate.peers import NAMES
from loadtests.simulate.report import markdown, write
from loadtests.simulate.results import Document, ScenarioResult, mean
from loadtests.simulate.run import Outcome, Run
from loadtests.simulate.scenarios import ACCEPTANCE, ALL, Scenario

REQUESTS, SEEDS = 40_000, 3
QUICK_REQUESTS, QUICK_SEEDS = 10_000, 1


def main(arguments: list[str]) -> int:
    """The command; 1 if an aim that can be met is missed in a full run."""
    options = _parser().parse_args(arguments)
    requests = options.requests or (QUICK_REQUESTS if options.quick else REQUESTS)
    seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    scenarios = [ALL[name] for name in options.scenario] or list(ALL.values())
    choices = options.choice or list(NAMES)
    results = list(_results(scenarios, choices, requests, seeds))
    document = Document(requests, seeds, results)
    print(markdown(document))
    for path in write(document, options.out):
        print(path, file=sys.stderr)
    missed = [aim for result in results for aim in result.missed() if not result.impossible(aim)]
    return int(bool(missed) and not options.quick)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.simulate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REQUESTS:,} requests, one seed")
    parser.add_argument("--scenario", action="append", default=[], choices=sorted(ALL), help="all if not given")
    parser.add_argument("--choice", action="append", default=[], choices=list(NAMES), help="all if not given")
    parser.add_argument("--requests", type=int, help=f"of one run ({REQUESTS:,}), or more")
    parser.add_argument("--seeds", type=int, help=f"runs of each ({SEEDS})")
    parser.add_argument("--out", type=Path, default=Path("loadtests/results"), help="where the results go")
    return parser


def _results(scenarios: list[Scenario], choices: list[str], requests: int, seeds: int) -> Iterator[ScenarioResult]:
    wanted = [(scenario, _worth(scenario, choices)) for scenario in scenarios]
    progress = _Progress(sum(len(each) for _, each in wanted) * seeds)
    for scenario, compared in wanted:
        outcomes: dict[str, list[Outcome]] = {choice: [] for choice in compared}
        for choice in compared:
            for seed in range(1, seeds + 1):
                progress.say(f"{scenario.name}: {choice}")
                outcomes[choice].append(Run(scenario, choice, seed).go(scenario.longer * requests))
        means = {choice: mean(each) for choice, each in outcomes.items()}
        yield ScenarioResult(scenario.name, scenario.title, means, owed=scenario in ACCEPTANCE)
    progress.end()


def _worth(scenario: Scenario, choices: list[str]) -> list[str]:
    """Without load from outside, gateways that are as one see all queues: that is the oracle again."""
    return [choice for choice in choices if choice != "informed" or scenario.direct]


class _Progress:
    """One line on the error stream: which run of how many, and how long the rest will take."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._done = 0
        self._started = time.monotonic()

    def say(self, what: str) -> None:
        """The next run begins."""
        spent = time.monotonic() - self._started
        left = f", {spent / self._done * (self._runs - self._done):.0f} s left" if self._done else ""
        print(f"\r{self._done + 1}/{self._runs} {what}{left}\x1b[K", end="", file=sys.stderr, flush=True)
        self._done += 1

    def end(self) -> None:
        """Clear the line."""
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
